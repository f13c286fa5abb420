/** What the front end makes of each construct of the language, seen through the graph it prints. */
import { describe, expect, test } from 'vitest';
import { readSpec } from '../../compiler/frontend/index.js';
import { printGraph } from '../../compiler/graph/print.js';
import { printed, readFiles, spec } from './scratch.js';

/** The loss of a body that needs no field. */
const loss = (body: string, top?: string): string => {
  const lines = printed(body, top);
  return /^return \{ loss: (.*), gradients: \{\} \};$/.exec(lines[lines.length - 1]!)![1]!;
};
const lossOf = (expression: string, top?: string): string =>
  loss(`return { loss: ${expression}, gradients: {} };`, top);

describe('expressions', () => {
  test.each([
    ['1 + 2 * 3', '7'],
    ['T + 1', 'T + 1'],
    ['(T - (U - 1)) * 0.5', '(T - (U - 1)) * 0.5'],
    ['-(-T)', '-(-T)'],
    ['acts(0, 0, 0) / 2', 'acts(0, 0, 0) / 2'],
    ['T / U', 'T / U'],
    ['logZero', '-Infinity'],
    ['Infinity', 'Infinity'],
    ['Number.NEGATIVE_INFINITY', '-Infinity'],
    ['Math.exp(scale) + Math.LN2', 'exp(scale) + 0.6931471805599453'],
    ['exp(1)', '2.718281828459045'],
    ['logAddExp(acts(0, 0, 0), acts(0, 0, 1), scale)', 'logAddExp(acts(0, 0, 0), acts(0, 0, 1), scale)'],
    ['min(T, U)', 'min(T, U)'],
    ['max(scale)', 'scale'],
    ['abs(T)', 'abs(T)'],
    ['T > 0 && !(U === 0) || scale < 1 ? 1 : 2', 'T > 0 && !(U === 0) || scale < 1 ? 1 : 2'],
    ['(T > 0 || U > 0) && V > 0 ? 1 : 2', '(T > 0 || U > 0) && V > 0 ? 1 : 2'],
    ['true && T > 1 ? 1 : 2', 'T > 1 ? 1 : 2'],
    ['factor === 3 ? scale : undefinedName', 'scale'],
    ['(scale as number)!', 'scale'],
    ['sum(V, (v) => acts(0, 0, v))', 'sum(V, (v) => acts(0, 0, v))'],
    ['maxOver(2 * U + 1, (i) => i)', 'maxOver(2 * U + 1, (i) => i)'],
    ['sum(T, (t) => sum(U, (t) => t))', 'sum(T, (t) => sum(U, (t) => t))'],
    ['acts(T - 1, U, labels(U - 1) + 1)', 'acts(T - 1, U, labels(U - 1) + 1)'],
  ])('%s', (written, expected) => expect(lossOf(written)).toBe(expected));
});

describe('statics unroll', () => {
  test.each([
    ['logAddExp(...durations.map((d, n) => acts(d, n, 0)))', 'logAddExp(acts(1, 0, 0), acts(2, 1, 0))'],
    ['durations.length', '2'],
    ['durations[1] * scale', '2 * scale'],
    ['max(...[scale, ...durations])', 'max(scale, 1, 2)'],
    ['logAddExp(...[])', '-Infinity'],
    ['acts(factor - 1, 0, 0)', 'acts(2, 0, 0)'],
  ])('%s', (written, expected) => expect(lossOf(written)).toBe(expected));

  test('destructuring', () => {
    expect(
      loss(
        'const [a, , c = 5, ...rest] = [...durations, 7, 8]; const { x: { y }, z = 2 } = { x: { y: scale } };\n' +
          'return { loss: a + c + rest[0] + y * z, gradients: {} };',
      ),
    ).toBe('16 + scale * 2');
  });
});

describe('helpers', () => {
  test('blocks, hoisted functions, defaults and if chains become choices', () => {
    expect(
      loss(`
    const pick = (x, y = 2) => {
      const twice = double(x);
      if (x > 1) return twice;
      else if (x > 0) { const z = twice + y; return z; }
      return y;
    };
    function double(x) { return 2 * x; }
    return { loss: pick(scale), gradients: {} };`),
    ).toBe('scale > 1 ? 2 * scale : scale > 0 ? 2 * scale + 2 : 2');
  });
  test('an early return on a static condition is taken while reading', () => {
    expect(
      loss(
        'const f = (n, x) => { if (n === 3) return x; return 1; };\nreturn { loss: f(factor, scale), gradients: {} };',
      ),
    ).toBe('scale');
  });
  test('parameters and consts hide outer names', () => {
    expect(loss('const f = (T) => { const U = T + 1; return U; };\nreturn { loss: f(scale), gradients: {} };')).toBe(
      'scale + 1',
    );
  });
  test('functions are values', () => {
    expect(loss('const twice = (f, x) => f(f(x));\nreturn { loss: twice((x) => x * scale, 2), gradients: {} };')).toBe(
      '2 * scale * scale',
    );
  });
  test('a helper may make fields; each gets a name of its own', () => {
    const lines =
      printed(`const norm = (x) => { const z = field([T], (t) => x(t, 0, 0)); return field([T], (t) => x(t, 0, 1) - z(t)); };
    const a = norm(acts);
    const b = norm(acts);
    return { loss: a(0) + b(0), gradients: {} };`);
    expect(lines).toEqual([
      'const z = field([T], (t) => acts(t, 0, 0));',
      'const a = field([T], (t) => acts(t, 0, 1) - z(t));',
      'const z_2 = field([T], (t) => acts(t, 0, 0));',
      'const b = field([T], (t) => acts(t, 0, 1) - z_2(t));',
      'return { loss: a(0) + b(0), gradients: {} };',
    ]);
  });
});

describe('fields', () => {
  test('bodies look ahead, inline fields get a name, missing indices are made up', () => {
    const lines = printed(`const first = field([T], (t) => later(t) + 1);
    const later = field([T], () => scale, { outside: -1 });
    return { loss: first(0), gradients: { acts: field([T, U + 1, V], (t, u, v) => v) } };`);
    expect(lines).toEqual([
      'const first = field([T], (t) => later(t) + 1);',
      'const later = field([T], (i0) => scale, { outside: -1 });',
      'const unnamed = field([T, U + 1, V], (t, u, v) => v);',
      'return { loss: first(0), gradients: { acts: unnamed } };',
    ]);
  });
  test('names of fields keep clear of inputs, sizes and buffers', () => {
    const lines = printed(
      'const loss = field([T], (t) => t);\nconst grad_acts = field([T], (t) => loss(t));\nreturn { loss: loss(0), gradients: {} };',
    );
    expect(lines.map((line) => line.split(' ')[1])).toEqual(['loss_2', 'grad_acts_2', '{']);
  });
  test('recurrences may read each other', () => {
    const lines = printed(`const a: Field1 = recurrence([T], (t) => b(t - 1));
    const b: Field1 = recurrence([T], (t) => a(t) + 1);
    return { loss: a(0), gradients: {} };`);
    expect(lines.slice(0, 2)).toEqual([
      'const a: Field1 = recurrence([T], (t) => b(t - 1));',
      'const b: Field1 = recurrence([T], (t) => a(t) + 1);',
    ]);
  });
});

describe('what is learnt about ints', () => {
  const read = (body: string) => readFiles({ 'spec.ts': spec(`${body}\nreturn { loss: 0, gradients: {} };`) }).graph;
  const param = (body: string, name: string) => read(body).params.find((p) => p.name === name);
  const V = { constant: 0, terms: { V: 1 } };

  test('a parameter used as an index is an int below that dimension', () => {
    expect(param('const a = field([T], (t) => acts(t, 0, blank));', 'blank')).toMatchObject({ type: 'int', below: V });
  });
  test('through arithmetic too, but then without a limit', () => {
    const decl = param('const a = field([T], (t) => acts(t, 0, blank + skip - 1));', 'skip');
    expect(decl).toEqual({ name: 'skip', type: 'int', default: 0 });
  });
  test('a parameter compared with an index is an int of its range', () => {
    expect(param('const a = field([T, V], (t, v) => (v === blank ? 1 : 0));', 'blank')).toMatchObject({
      type: 'int',
      below: V,
    });
  });
  test('a use as an index outweighs a comparison', () => {
    const decl = param('const a = field([T], (t) => (t < blank ? 1 : 0) + acts(t, 0, blank));', 'blank');
    expect(decl).toMatchObject({ type: 'int', below: V });
  });
  test('other parameters stay real', () => {
    expect(param('const a = field([T], (t) => t * scale + (scale > 0 ? 1 : 0));', 'scale')).toEqual({
      name: 'scale',
      type: 'real',
      default: 1,
    });
  });
  test('labels get their limit from the dimension they index', () => {
    const graph = read('const a = field([U], (u) => acts(0, u, labels(u)));');
    expect(graph.inputs[1]).toMatchObject({ name: 'labels', below: V });
  });
  test('or from the index they are compared with', () => {
    const graph = read('const a = field([U, V], (u, v) => (v === labels(u) ? 1 : 0));');
    expect(graph.inputs[1]).toMatchObject({ name: 'labels', below: V });
  });
  test('the parameter that `not` names is an int', () => {
    const text = spec('return { loss: 0, gradients: {} };').replace("i32('U')", "i32('U', { not: 'skip' })");
    const { graph } = readFiles({ 'spec.ts': text });
    expect(graph.inputs[1]).toMatchObject({ not: 'skip' });
    expect(graph.params[1]).toMatchObject({ name: 'skip', type: 'int' });
  });
});

describe('hints', () => {
  const square = (inputs: string): string => `import { defineLoss, f32, field, i32 } from 'trellis-jit/dsl';
export default defineLoss({ name: 'x', inputs: { ${inputs} } }, ({ a, T }) => {
  const b = field([T], (t) => a(t * t));
  return { loss: b(0), gradients: {} };
});`;
  test.each([
    ["a: f32('T')", 'or one i32 read plus such.'],
    ["a: f32('T'), frames: i32('2*S', 'T+1'), more: i32('T')", 'or one i32 read plus such (frames(s, t) + 1).'],
    ["a: f32('T'), pair: i32('2')", 'or one i32 read plus such (pair(i) + 1).'],
  ])('the example of a gather is of the spec itself: %s', (inputs, hint) => {
    expect(() => printed({ 'spec.ts': square(inputs) })).toThrow(hint);
  });
});

describe('files', () => {
  test('imports are inlined: named, default, namespace, re-exported, in folders', () => {
    const files = {
      'spec.ts': spec(
        'return { loss: h.twice(half(scale)) + weight + all + inner.deep, gradients: {} };',
        `
import half, { weight as weight } from './lib/half.js';
import * as h from './lib/index.js';
import { all, inner } from './lib';`,
      ),
      'lib/half.ts':
        "import { quarter } from './index.js';\nexport const weight = 2 * quarter;\nexport default (x: number) => x / 2;\n",
      'lib/index.ts':
        "export * from './twice.js';\nexport { all } from './constants.js';\nexport * as inner from './constants.js';\nexport const quarter = 0.25;\n",
      'lib/twice.ts':
        "import { exp as e } from 'trellis-jit/dsl';\nexport function twice(x: number) { return e(2 * x); }\n",
      'lib/constants.ts':
        'const seven = 7;\nexport { seven as all };\nexport const deep = Math.PI;\nlet ignored = 1;\nconsole.log(ignored);\n',
    };
    const reading = readFiles(files);
    expect(reading.files.map(({ path }) => path.split('/').slice(-1)[0])).toEqual([
      'spec.ts',
      'half.ts',
      'index.ts',
      'twice.ts',
      'constants.ts',
    ]);
    expect(printed(files)).toEqual([`return { loss: exp(2 * (scale / 2)) + 0.5 + 7 + ${Math.PI}, gradients: {} };`]);
  });
  test('types may be imported from anywhere, since nothing of them is there when the file runs', () => {
    const top = `
import type { Tensor } from 'some-package';
import { type Lattice } from './no-such-file.js';
import { type Field1, Field2, field as cells } from 'trellis-jit/dsl';
import Shape, { Extent } from './no-such-file-either.js';
import * as names from './types.js';
type Pair = [Tensor, Lattice, Extent, names.Name];
export type { Other } from './nor-this.js';`;
    const body = `const a: Field2 = cells([T, U], (t: Shape, u) => scale);
    return { loss: a(0, 0), gradients: {} };`;
    const files = { 'spec.ts': spec(body, top), 'types.ts': 'export interface Name { text: string }\n' };
    expect(printed(files).at(-1)).toBe('return { loss: a(0, 0), gradients: {} };');
  });
  test('what an imported file imports must be there as well', () => {
    const files = {
      'spec.ts': spec('return { loss: twice(scale), gradients: {} };', "import { twice } from './a.js';"),
      'a.ts': "import { three } from './gone.js';\nexport const twice = (x) => 2 * x;\n",
    };
    expect(() => printed(files)).toThrow(/a\.ts:1:10 '\.\/gone\.js' does not lead to a TypeScript file/);
  });
  test('files may import each other', () => {
    const files = {
      'spec.ts': spec(
        'return { loss: even(scale), gradients: {} };',
        "import { even } from './a.js';\nexport const two = 2;",
      ),
      'a.ts': "import { odd } from './b.js';\nexport const even = (x) => odd(x) + 1;\n",
      'b.ts': "import { even } from './a.js';\nimport { two } from './spec.js';\nexport const odd = (x) => two * x;\n",
    };
    expect(printed(files)).toEqual(['return { loss: 2 * scale + 1, gradients: {} };']);
  });
  test('the vocabulary as a namespace, under aliases and by relative path', () => {
    const text = (
      from: string,
    ) => `import * as dsl from '${from}';\nimport { field as cells, f32 } from '${from}';\nexport default dsl.defineLoss(
      { name: 'x', inputs: { a: f32('T') } }, (given) => { const b = cells([given.T], (t) => dsl.tanh(given.a(t)));
      return { loss: b(0), gradients: { a: b } }; });`;
    const expected = ['const b = field([T], (t) => tanh(a(t)));', 'return { loss: b(0), gradients: { a: b } };'];
    for (const from of ['trellis-jit/dsl', `${process.cwd()}/dsl/index.js`, `${process.cwd()}/dist/dsl/index.js`]) {
      expect(printed({ 'spec.ts': text(from) })).toEqual(expected);
    }
  });
  test('a loss may be a const first, or come from another file', () => {
    const text = spec('return { loss: scale, gradients: {} };');
    const named = text.replace('export default', 'const mine =');
    expect(printed({ 'spec.ts': `${named}\nexport default mine;` })).toHaveLength(1);
    expect(printed({ 'spec.ts': `${named}\nexport { mine as default };` })).toHaveLength(1);
    expect(printed({ 'spec.ts': "export { default } from './other.js';", 'other.ts': text })).toHaveLength(1);
  });
  test('reading never runs a spec', () => {
    const top = "const boom = (() => { throw new Error('ran'); })();\nexport const log2 = process.exit(3);";
    expect(lossOf('scale', top)).toBe('scale');
  });
  test('a file that is not there is a file error', () => {
    expect(() => readSpec('specs/no-such-spec.ts')).toThrow(/ENOENT/);
  });
});

describe('the header', () => {
  test('lengths: T and U by default, or as declared', () => {
    const graph = (header: string) =>
      readFiles({
        'spec.ts': `import { defineLoss, f32 } from 'trellis-jit/dsl';\nexport default defineLoss({ name: 'x', ${header} }, ({ a }) => ({ loss: a(0), gradients: {} }));`,
      }).graph;
    expect(graph("inputs: { a: f32('T') }").lengths).toEqual([{ size: 'T', argument: 'actLens' }]);
    expect(graph("inputs: { a: f32('S') }").lengths).toEqual([]);
    expect(graph("inputs: { a: f32('S') }, lengths: { S: 'frames' }").lengths).toEqual([
      { size: 'S', argument: 'frames' },
    ]);
    expect(graph("inputs: { a: f32('2*S - 1') }, doc: 'one line'")).toMatchObject({
      doc: 'one line',
      inputs: [{ dims: [{ constant: -1, terms: { S: 2 } }] }],
    });
  });
  test('statics can be given other values', () => {
    const file = 'test/frontend/unrolled.ts';
    const lossOf = (statics: Record<string, number | number[]>) => {
      const { graph } = readSpec(file, { statics });
      return [
        printGraph(graph)
          .split('\n')
          .find((line) => line.includes('return'))!
          .trim(),
        graph.statics,
      ];
    };
    expect(lossOf({})).toEqual(['return { loss: logAddExp(a(1), a(2)), gradients: {} };', { steps: [1, 2], shift: 0 }]);
    expect(lossOf({ steps: [4], shift: 1 })).toEqual([
      'return { loss: a(5), gradients: {} };',
      { steps: [4], shift: 1 },
    ]);
    expect(() => lossOf({ step: [4] })).toThrow('statics: step is no static of the spec; allowed: steps and shift');
    expect(() => lossOf({ steps: 4 })).toThrow('statics: steps is 4; allowed: an array of finite numbers');
    expect(() => lossOf({ shift: Number.NaN })).toThrow('statics: shift is null; allowed: a finite number');
  });
  test('statics are kept for cache keys', () => {
    expect(readFiles({ 'spec.ts': spec('return { loss: 0, gradients: {} };') }).graph.statics).toEqual({
      durations: [1, 2],
      factor: 3,
    });
  });
});

test('expressions remember every place they were written in', () => {
  const { graph } = readSpec('specs/rnnt-equations.ts');
  const alpha = graph.fields.find(({ name }) => name === 'alpha')!;
  const places = graph.origins.get(alpha.body.id)!;
  expect(places[0]!.file).toBe('specs/rnnt-equations.ts');
  expect(graph.fieldOrigins.get('alpha')!.line).toBeGreaterThan(20);
  const missing = graph.fields.filter(({ body }) => !graph.origins.has(body.id)).map(({ name }) => name);
  expect(missing).toEqual([]);
});

describe('arcs', () => {
  const words = "import { arc, lattice, logSoftmax } from 'trellis-jit/dsl';";
  const stated = (arcs: string, consts = ''): string[] =>
    printed(`${consts} return lattice({ nodes: [T, U + 1], start: [0, 0], end: [T, U], arcs: [${arcs}] });`, words);
  const weights = (lines: readonly string[]): string[] =>
    lines.flatMap((line) => (/^ *weight: (.*),$/.exec(line) ?? []).slice(1));

  test('names by their places, unrolled over statics', () => {
    const lines = stated(
      '...durations.map((d) => arc({ step: [d, 0], weight: () => d, final: d >= 1 })), ' +
        // biome-ignore lint/suspicious/noTemplateCurlyInString: it is the text of a spec.
        '...durations.flatMap((d) => (d === 2 ? [arc({ name: `emit${d}`, step: [d, 1], weight: (t, u) => t * u })] : []))',
    ).map((line) => line.trim());
    expect(lines.filter((line) => /^(name|step|weight|final)/.test(line))).toEqual([
      "name: 'arc0',",
      'step: [1, 0],',
      'weight: (t, u) => 1,',
      'final: true,',
      "name: 'arc1',",
      'step: [2, 0],',
      'weight: (t, u) => 2,',
      'final: true,',
      "name: 'emit2',",
      'step: [2, 1],',
      'weight: (t, u) => t * u,',
    ]);
    expect(lines).toContain('loss: (logLik) => -logLik,');
    expect(lines.some((line) => line.startsWith('gradient'))).toBe(false);
  });

  test('conditions known while reading', () => {
    const whens = (when: string): string[] =>
      stated(`arc({ step: [1, 0], weight: () => 0, when: ${when}, final: true })`)
        .map((line) => line.trim())
        .filter((line) => line.startsWith('when'));
    expect(whens('() => durations[0] === 1')).toEqual([]);
    expect(whens('() => durations[0] === 2')).toEqual(['when: (i0, i1) => false,']);
    expect(whens('(t, u) => t >= u')).toEqual(['when: (i0, i1) => i0 >= i1,']);
  });

  test('a log-softmax is written out, with one field for the sums of rows', () => {
    const lines = stated(
      'arc({ step: [1, 0], weight: (t, u) => logp(t, u, blank), final: true })',
      'const logp = logSoftmax(acts, V);',
    );
    expect(lines[0]).toBe('const logZ = field([T, U + 1], (t, u) => logSumExp(V, (v) => acts(t, u, v)));');
    expect(weights(lines)).toEqual([
      '(t, u) => acts(t, u, blank) === -Infinity ? -Infinity : acts(t, u, blank) - logZ(t, u)',
    ]);
  });

  test('parts of the last index are fields of their own, beyond which is log 0', () => {
    const lines = stated(
      'arc({ step: [1, 0], weight: (t, u) => tail(t, u, 1), final: true }), arc({ step: [1, 0], weight: (t, u) => tail(t, u, 3), final: true }), ' +
        'arc({ step: [0, 1], weight: (t, u) => head(t, u, labels(u)) }), arc({ step: [1, 1], weight: (t, u) => head(t, u, u) })',
      'const head = logSoftmax(acts, V - 2); const tail = logSoftmax(acts, 2, { from: V - 2 });',
    );
    expect(lines.slice(0, 4)).toEqual([
      'const headLogits = field([T, U + 1, V - 2], (t, u, v) => acts(t, u, v));',
      'const logZ = field([T, U + 1], (t, u) => logSumExp(V - 2, (v) => headLogits(t, u, v)));',
      'const tailLogits = field([T, U + 1, 2], (t, u, v) => acts(t, u, V - 2 + v));',
      'const logZ_2 = field([T, U + 1], (t, u) => logSumExp(2, (v) => tailLogits(t, u, v)));',
    ]);
    const text = lines.join(' ').replace(/\s+/g, ' ');
    expect(text).toContain(
      'headLogits(t, u, labels(u)) === -Infinity ? -Infinity : headLogits(t, u, labels(u)) - logZ(t, u)',
    );
    expect(text).toContain('tailLogits(t, u, 3) === -Infinity ? -Infinity : tailLogits(t, u, 3) - logZ_2(t, u)');
  });

  test('a log-softmax of a field, in equations', () => {
    const lines = printed(
      `const joint = field([T, V], (t, k) => acts(t, 0, k) * scale);
      const logp = logSoftmax(joint, V);
      return { loss: -sum(T, (t) => logp(t, labels(0))), gradients: {} };`,
      words,
    );
    expect(lines[1]).toBe('const logZ = field([T], (t) => logSumExp(V, (k) => joint(t, k)));');
    expect(lines[2]).toContain('joint(t, labels(0)) === -Infinity ? -Infinity : joint(t, labels(0)) - logZ(t)');
  });
});
