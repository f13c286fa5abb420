/** A small kernel program written by hand, with its IR: what the driver and the executor are tested with. */
import type { BufferDecl, KExpr, Kernel, KernelProgram } from '../../compiler/kernel/kernel.js';

const scalar = (name: string): KExpr => ({ op: 'scalar', type: 'index', name });

const buffer = (
  name: string,
  element: BufferDecl['element'],
  role: BufferDecl['role'],
  shape: readonly KExpr[],
): BufferDecl => ({ name, element, role, shape, layout: `${name}[...]` });

const kernel = (name: string, extent: KExpr): Kernel => ({
  name,
  doc: [],
  grid: [{ variable: 'i', extent }],
  body: [],
});

/**
 * Phase 1, side by side: square[i] = x[i]^2 into scratch, one task an element; row[b] = the sum of labels of row b.
 * Phase 2: out[b] = scale * sum of square over row b + row[b]. It is wrong if it begins before phase 1 has ended.
 */
export const rowSums: KernelProgram = {
  name: 'row_sums',
  buffers: [
    buffer('x', 'f32', 'input', [scalar('B'), scalar('N')]),
    buffer('labels', 'i32', 'input', [scalar('B'), scalar('N')]),
    buffer('square', 'f32', 'scratch', [scalar('B'), scalar('N')]),
    buffer('row', 'f64', 'scratch', [scalar('B')]),
    buffer('out', 'f64', 'output', [scalar('B')]),
  ],
  scalars: [
    { name: 'B', type: 'index', role: 'size' },
    { name: 'N', type: 'index', role: 'size' },
    { name: 'scale', type: 'f64', role: 'param' },
    { name: 'offset', type: 'index', role: 'param' },
  ],
  phases: [
    [
      kernel('square', { op: 'index', type: 'index', name: 'mul', args: [scalar('B'), scalar('N')] }),
      kernel('labels_of_row', scalar('B')),
    ],
    [kernel('total', scalar('B'))],
  ],
};

const slot = (name: string, i: number, type: string) => `  %${name}.at = getelementptr i64, ptr %args, i64 ${i}
  %${name} = load ${type}, ptr %${name}.at`;

export const rowSumsIr = `
define void @square(ptr %args, i64 %begin, i64 %end) {
entry:
${slot('x', 0, 'ptr')}
${slot('square', 2, 'ptr')}
  br label %head
head:
  %i = phi i64 [ %begin, %entry ], [ %i.next, %body ]
  %more = icmp slt i64 %i, %end
  br i1 %more, label %body, label %done
body:
  %from = getelementptr float, ptr %x, i64 %i
  %v = load float, ptr %from
  %vv = fmul float %v, %v
  %to = getelementptr float, ptr %square, i64 %i
  store float %vv, ptr %to
  %i.next = add i64 %i, 1
  br label %head
done:
  ret void
}

define void @labels_of_row(ptr %args, i64 %begin, i64 %end) {
entry:
${slot('labels', 1, 'ptr')}
${slot('row', 3, 'ptr')}
${slot('n', 6, 'i64')}
${slot('offset', 8, 'i64')}
  %start = sitofp i64 %offset to double
  br label %rows
rows:
  %b = phi i64 [ %begin, %entry ], [ %b.next, %row.done ]
  %more = icmp slt i64 %b, %end
  br i1 %more, label %row.begin, label %done
row.begin:
  %base = mul i64 %b, %n
  br label %head
head:
  %i = phi i64 [ 0, %row.begin ], [ %i.next, %body ]
  %sum = phi double [ %start, %row.begin ], [ %sum.next, %body ]
  %in = icmp slt i64 %i, %n
  br i1 %in, label %body, label %row.done
body:
  %k = add i64 %base, %i
  %from = getelementptr i32, ptr %labels, i64 %k
  %v = load i32, ptr %from
  %d = sitofp i32 %v to double
  %sum.next = fadd double %sum, %d
  %i.next = add i64 %i, 1
  br label %head
row.done:
  %to = getelementptr double, ptr %row, i64 %b
  store double %sum, ptr %to
  %b.next = add i64 %b, 1
  br label %rows
done:
  ret void
}

define void @total(ptr %args, i64 %begin, i64 %end) {
entry:
${slot('square', 2, 'ptr')}
${slot('row', 3, 'ptr')}
${slot('out', 4, 'ptr')}
${slot('n', 6, 'i64')}
${slot('scale', 7, 'double')}
  br label %rows
rows:
  %b = phi i64 [ %begin, %entry ], [ %b.next, %row.done ]
  %more = icmp slt i64 %b, %end
  br i1 %more, label %row.begin, label %done
row.begin:
  %base = mul i64 %b, %n
  br label %head
head:
  %i = phi i64 [ 0, %row.begin ], [ %i.next, %body ]
  %sum = phi double [ 0.0, %row.begin ], [ %sum.next, %body ]
  %in = icmp slt i64 %i, %n
  br i1 %in, label %body, label %row.done
body:
  %k = add i64 %base, %i
  %from = getelementptr float, ptr %square, i64 %k
  %v = load float, ptr %from
  %d = fpext float %v to double
  %sum.next = fadd double %sum, %d
  %i.next = add i64 %i, 1
  br label %head
row.done:
  %scaled = fmul double %sum, %scale
  %row.from = getelementptr double, ptr %row, i64 %b
  %r = load double, ptr %row.from
  %result = fadd double %scaled, %r
  %to = getelementptr double, ptr %out, i64 %b
  store double %result, ptr %to
  %b.next = add i64 %b, 1
  br label %rows
done:
  ret void
}
`;
