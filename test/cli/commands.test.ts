/** Each command as a shell runs it: what goes to stdout, what to stderr, and the exit code. */
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { encodeHalf } from '../../compiler/kernel/half.js';
import { readNpy } from '../../runtime/cli/npy.js';
import { loadCase } from '../cases.js';
import { missing as gpuMissing } from '../gpu/gpu.js';
import { halfTypes, halved } from '../halves.js';
import { llvmMissing, testLlvm } from '../lanes.js';
import { callTrellis, example, root, spawnTrellis, temporaryFolder, writeNumpy } from './helpers.js';

const folder = temporaryFolder();
const env = { TRELLIS_CACHE_DIR: join(folder, 'cache') };
const hasLlvm = llvmMissing === undefined;
const { version } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')) as { version: string };

/** Options that name the tensors of an example. */
const tensors = (name: string): string[] =>
  ['acts', 'labels', 'act-lens', 'label-lens'].flatMap((file) => [`--${file}`, join(example(name), `${file}.npy`)]);

describe('trellis', () => {
  test('--version and --help answer on stdout', async () => {
    expect(await spawnTrellis(['--version'])).toEqual({ code: 0, stdout: `${version}\n`, stderr: '' });
    const help = await spawnTrellis(['--help']);
    expect(help).toMatchObject({ code: 0, stderr: '' });
    for (const command of ['loss', 'dump', 'doctor', 'list'])
      expect(help.stdout).toMatch(new RegExp(`^  ${command} `, 'm'));
  });

  test.each(['loss', 'dump', 'doctor', 'list'])('%s --help has examples that it accepts', async (command) => {
    const help = await callTrellis(command, '--help');
    expect(help).toMatchObject({ code: 0, stderr: '' });
    const examples = [...help.stdout.matchAll(/^ {2}\$ trellis (.*)$/gm)].map((match) => match[1] as string);
    expect(examples.length).toBeGreaterThanOrEqual(2);
    // Files in the examples do not exist, but every option in them must.
    for (const option of examples.join(' ').match(/--[a-z-]+/g) ?? []) expect(help.stdout).toContain(`${option}`);
  });

  test('bad usage is exit code 2, on stderr alone', async () => {
    const outcome = await spawnTrellis([
      'loss',
      'rnnt',
      '--acts',
      'none.npy',
      '--labels',
      'none.npy',
      '--device',
      'reference',
    ]);
    expect(outcome).toEqual({ code: 2, stdout: '', stderr: 'error: --acts: cannot read none.npy: no such file\n' });
  });

  test('a device that is there but cannot be used is a failure, exit code 1', async () => {
    const words = ['loss', 'rnnt', ...tensors('published-big'), '--device', 'cpu'];
    const outcome = await spawnTrellis(words, { env: { ...env, TRELLIS_LIBLLVM: join(folder, 'none') } });
    expect(outcome).toMatchObject({ code: 1, stdout: '' });
    expect(outcome.stderr).toBe(
      `error: TRELLIS_LIBLLVM names a library that cannot be used: ${join(folder, 'none')}: no such file; ` +
        'correct TRELLIS_LIBLLVM, or unset it to use what is installed\n',
    );
  });
});

describe('trellis list', () => {
  test('names every file in specs/ with its line', async () => {
    const { code, stdout, stderr } = await spawnTrellis(['list', '--json']);
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
    const { specs } = JSON.parse(stdout) as { specs: { name: string; path: string; doc: string }[] };
    const files = readdirSync(join(root, 'specs')).filter((file) => file.endsWith('.ts'));
    expect(specs.map(({ path }) => path).sort()).toEqual(files.map((file) => join(root, 'specs', file)).sort());
    const table = await callTrellis('list');
    for (const { name, doc } of specs) {
      expect(doc).not.toBe('');
      expect(table.stdout).toMatch(new RegExp(`^${name} +${doc.slice(0, 12)}`, 'm'));
    }
  });
});

describe('trellis loss', () => {
  const published = JSON.parse(readFileSync(join(example('published-big'), 'published.json'), 'utf8')) as {
    costs: number[];
  };

  test('prints the published costs, on the device that auto takes', async () => {
    const { code, stdout, stderr } = await spawnTrellis(
      ['loss', 'rnnt', ...tensors('published-big'), '--reduction', 'sum', '--json'],
      { env },
    );
    expect(code).toBe(0);
    expect(stderr === '').toBe(hasLlvm);
    const answer = JSON.parse(stdout) as { loss: number; costs: number[] };
    expect(answer).toMatchObject({
      reduction: 'sum',
      device: hasLlvm ? 'cpu' : 'reference',
      spec: 'rnnt',
      shape: { acts: [2, 4, 3, 3], labels: [2, 2] },
      params: { blank: 0, fastemitLambda: 0, clamp: 0 },
      milliseconds: expect.any(Number),
      compileMilliseconds: expect.any(Number),
    });
    const { costs } = answer;
    expect(costs).toHaveLength(2);
    for (const [b, cost] of costs.entries()) expect(cost).toBeCloseTo(published.costs[b] as number, 5);
    expect(answer.loss).toBeCloseTo((published.costs[0] as number) + (published.costs[1] as number), 5);
    expect(stdout.trim().split('\n')).toHaveLength(1);
  });

  test('for people: loss, sizes and a line for each utterance', async () => {
    const { code, stdout, stderr } = await callTrellis(
      'loss',
      'rnnt',
      ...tensors('published-big'),
      '--device',
      'reference',
    );
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
    expect(stdout).toMatch(/^rnnt: /);
    expect(stdout).toMatch(/^ {2}shape {4}B=2 {2}T=4 {2}U=2 {2}V=3$/m);
    expect(stdout).toMatch(/^0 +4 {2}2 {2}4\.28065\d+$/m);
    expect(stdout).toMatch(/^1 +4 {2}2 {2}3\.93843\d+$/m);
  });

  test('int32, int64, float64 and Fortran order give the same answer', async () => {
    const golden = loadCase('rnnt-ragged');
    const [B, T, U1, V] = golden.shape;
    const path = (name: string): string => join(folder, name);
    const fortran = new Float64Array(golden.acts.length);
    golden.acts.forEach((value, position) => {
      const v = position % V;
      const u = Math.floor(position / V) % U1;
      const t = Math.floor(position / (V * U1)) % T;
      const b = Math.floor(position / (V * U1 * T));
      fortran[b + B * (t + T * (u + U1 * v))] = value;
    });
    const long = (values: ArrayLike<number>) => BigInt64Array.from(values, BigInt);
    const acts = {
      c: writeNumpy(path('acts-c.npy'), { descr: '<f4', shape: golden.shape, data: golden.acts }),
      fortran: writeNumpy(path('acts-f.npy'), { descr: '<f8', shape: golden.shape, data: fortran, fortran: true }),
    };
    const labels = {
      c: writeNumpy(path('labels-32.npy'), { descr: '<i4', shape: [B, U1 - 1], data: golden.labels }),
      fortran: writeNumpy(path('labels-64.npy'), { descr: '<i8', shape: [B, U1 - 1], data: long(golden.labels) }),
    };
    const t = writeNumpy(path('t.npy'), { descr: '<i8', shape: [B], data: long(golden.actLens) });
    const u = writeNumpy(path('u.npy'), { descr: '|u1', shape: [B], data: Uint8Array.from(golden.labelLens) });
    for (const layout of ['c', 'fortran'] as const) {
      const files = [
        '--input',
        `acts=${acts[layout]}`,
        '--labels',
        labels[layout],
        '--lengths',
        `actLens=${t}`,
        '--label-lens',
        u,
      ];
      const grads = path(`grads-${layout}.npy`);
      const words = [
        'loss',
        'rnnt',
        ...files,
        '--reduction',
        'none',
        '--device',
        'reference',
        '--grads',
        grads,
        '--json',
      ];
      const { code, stdout, stderr } = await callTrellis(...words);
      expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
      const answer = JSON.parse(stdout) as { loss: number[]; costs: number[]; gradsFile: string };
      expect(answer.loss).toEqual(answer.costs);
      expect(answer.gradsFile).toBe(grads);
      answer.costs.forEach((cost, b) => {
        expect(cost).toBeCloseTo(golden.costs[b] as number, 8);
      });
      const written = await readNpy(grads, '--grads');
      expect(written.shape).toEqual(golden.shape);
      for (let i = 0; i < golden.grads.length; i++)
        expect(Number(written.data[i])).toBeCloseTo(golden.grads[i] as number, 9);
    }
  });

  test('float16 goes in as it is, bfloat16 as uint16 with --dtype, and gradients come out alike', async () => {
    const golden = loadCase('rnnt-ragged');
    const [B, , U1] = golden.shape;
    const write = (name: string, descr: string, shape: readonly number[], data: ArrayBufferView): string =>
      writeNumpy(join(folder, name), { descr, shape, data });
    const ints = (name: string, data: ArrayLike<number>): string => write(name, '<i4', [B], Int32Array.from(data));
    const words = ['--labels', write('half-labels.npy', '<i4', [B, U1 - 1], golden.labels)];
    words.push('--act-lens', ints('half-t.npy', golden.actLens), '--label-lens', ints('half-u.npy', golden.labelLens));
    words.push('--device', 'reference', '--reduction', 'none', '--json');
    const run = async (acts: string, ...more: string[]) => {
      const grads = join(folder, 'half-grads.npy');
      const { code, stdout, stderr } = await callTrellis(
        ...['loss', 'rnnt', '--acts', acts, ...words, '--grads', grads, ...more],
      );
      expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
      return { costs: (JSON.parse(stdout) as { costs: number[] }).costs, grads: await readNpy(grads, '--grads') };
    };
    for (const type of halfTypes) {
      const { tensor, reals } = halved(type, golden.acts, golden.shape);
      const bits = write('bits.npy', type === 'f16' ? '<f2' : '<u2', golden.shape, tensor.data);
      const half = await run(bits, ...(type === 'f16' ? [] : ['--dtype', 'acts=bfloat16']));
      const exact = await run(write('whole.npy', '<f8', golden.shape, reals.data));
      expect(half.costs).toEqual(exact.costs);
      const rounded = Uint16Array.from(exact.grads.data as Float64Array, (value) => encodeHalf(type, value));
      const dtype = type === 'f16' ? { dtype: 'float16' } : {};
      expect(half.grads).toEqual({ data: rounded, shape: golden.shape, ...dtype });
    }
  });

  test.each([
    ['acts', /--dtype acts: expected name=type/],
    ['acts=fp8', /--dtype acts: fp8 is no type; there are float16 and bfloat16/],
    ['labels=float16', /--dtype: the spec rnnt has no input labels of reals/],
    ['acts=bfloat16', /--dtype acts: the file of acts holds float32; bfloat16 bits are uint16/],
  ])('--dtype %s is refused', async (word, message) => {
    const { code, stderr } = await callTrellis('loss', 'rnnt', ...tensors('published-big'), '--dtype', word);
    expect(code).toBe(2);
    expect(stderr).toMatch(message);
  });

  test('what JSON cannot say is a string; --infeasible decides what an impossible utterance is', async () => {
    const golden = loadCase('rnnt-impossible');
    const [B, , U1] = golden.shape;
    const acts = writeNumpy(join(folder, 'impossible.npy'), { descr: '<f4', shape: golden.shape, data: golden.acts });
    const labels = writeNumpy(join(folder, 'impossible-labels.npy'), {
      descr: '<i4',
      shape: [B, U1 - 1],
      data: golden.labels,
    });
    const words = ['loss', 'rnnt', '--acts', acts, '--labels', labels, '--device', 'reference', '--json'];
    const run = async (...more: string[]) => callTrellis(...words, ...more);
    expect(JSON.parse((await run()).stdout)).toMatchObject({ loss: 'inf', costs: ['inf', expect.any(Number)] });
    expect(JSON.parse((await run('--infeasible', 'zero')).stdout)).toMatchObject({ costs: [0, expect.any(Number)] });
    const refused = await run('--infeasible', 'error');
    expect(refused.stdout).toBe('');
    expect(refused.code).not.toBe(0);
    expect(refused.stderr).toMatch(/0/);
  });

  test('statics by --static, in a row or alone', async () => {
    const acts = writeNumpy(join(folder, 'statics.npy'), {
      descr: '<f4',
      shape: [1, 1, 1, 6],
      data: new Float32Array(6),
    });
    const labels = writeNumpy(join(folder, 'statics-labels.npy'), {
      descr: '<i4',
      shape: [1, 0],
      data: new Int32Array(0),
    });
    const words = ['loss', 'tdt', '--acts', acts, '--labels', labels, '--device', 'reference', '--json'];
    const lossWith = async (text: string) => callTrellis(...words, '--static', `durations=${text}`);
    // One frame: a blank of the tokens that are left, which lasts one frame of so many durations.
    expect(JSON.parse((await lossWith('0,1,2')).stdout).loss).toBeCloseTo(Math.log(3) + Math.log(3), 6);
    expect(JSON.parse((await lossWith('1,')).stdout).loss).toBeCloseTo(Math.log(5), 6);
    for (const [text, message] of [
      ['1', 'statics.durations is 1; allowed: an array of finite numbers'],
      ['0,x', '--static durations: "x" is not a number'],
    ] as const) {
      const { code, stderr } = await lossWith(text);
      expect(stderr).toContain(message);
      expect(code).toBe(2);
    }
    const unknown = await callTrellis(...words, '--static', 'lasts=1,2');
    expect(unknown.stderr).toContain('statics.lasts is no static of the spec; allowed: durations');
  });

  test("a user's own spec, elsewhere, with inputs of its own", async () => {
    const elsewhere = join(folder, 'elsewhere');
    mkdirSync(elsewhere);
    writeFileSync(
      join(elsewhere, 'walk.ts'),
      `import { defineLoss, f32, field } from 'trellis-jit/dsl';
import { twice } from './helper.js';

export default defineLoss(
  { name: 'walk', doc: 'a sum', inputs: { steps: f32('N') }, lengths: { N: 'stepLens' }, params: { weight: 1 } },
  ({ steps, N, weight }) => {
    const scaled = field([N], (n) => twice(weight) * steps(n));
    return { loss: scaled(0) + scaled(N - 1), gradients: { steps: field([N], (n) => (n === 0 ? 2 : 0) * weight + (n === N - 1 ? 2 : 0) * weight) } };
  },
);
`,
    );
    writeFileSync(join(elsewhere, 'helper.ts'), 'export const twice = (x: number): number => 2 * x;\n');
    writeNumpy(join(elsewhere, 'steps.npy'), { descr: '<f4', shape: [2, 3], data: Float32Array.of(1, 2, 3, 4, 5, 6) });
    writeNumpy(join(elsewhere, 'lens.npy'), { descr: '<i4', shape: [2], data: Int32Array.of(3, 2) });
    const words = [
      'loss',
      './walk.ts',
      '--input',
      'steps=steps.npy',
      '--lengths',
      'stepLens=lens.npy',
      '--param',
      'weight=0.5',
    ];
    const { code, stdout } = await spawnTrellis([...words, '--reduction', 'sum', '--grads', 'steps=g.npy', '--json'], {
      cwd: elsewhere,
      env,
    });
    expect(code).toBe(0);
    expect(JSON.parse(stdout)).toMatchObject({ loss: 13, costs: [4, 9], spec: 'walk', params: { weight: 0.5 } });
    const { data } = await readNpy(join(elsewhere, 'g.npy'), '--grads');
    expect(Array.from(data, Number)).toEqual([1, 0, 1, 1, 1, 0]);
  });
});

describe('trellis dump', () => {
  test('graph is the default, and the stages differ', async () => {
    const graph = await spawnTrellis(['dump', 'rnnt']);
    expect(graph).toMatchObject({ code: 0, stderr: '' });
    expect(graph.stdout).toContain('lattice({');
    const derived = await callTrellis('dump', 'rnnt', '--stage', 'derived');
    for (const name of ['alpha', 'beta', 'stayPosterior', 'grad_acts']) expect(derived.stdout).toContain(name);
    const kernels = await callTrellis('dump', 'rnnt', '--stage', 'kernels', '--shape', '2,10,4,77');
    expect(kernels).toMatchObject({ code: 0, stderr: '' });
    for (const loop of ['grid', 'lanes', 'steps']) expect(kernels.stdout).toContain(loop);
    expect(kernels.stdout).toContain('77');
    const score = await callTrellis('dump', 'rnnt', '--stage', 'kernels', '--no-grads');
    expect(score.stdout.length).toBeLessThan(kernels.stdout.length);
  });

  test.each([
    ['avx512', '<16 x float>'],
    ['avx2', '<8 x float>'],
    ['sse', '<4 x float>'],
    ['neon', '<4 x float>'],
  ])('LLVM IR for %s needs no libLLVM', async (target, vectors) => {
    const { code, stdout, stderr } = await callTrellis('dump', 'rnnt', '--stage', 'llvm', '--target', target);
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
    expect(stdout).toContain('define ');
    expect(stdout).toContain(vectors);
  });

  testLlvm('optimised IR and assembly, for this machine and for another', async () => {
    const optimised = await callTrellis('dump', 'monotonic', '--stage', 'llvm-opt');
    expect(optimised).toMatchObject({ code: 0, stderr: '' });
    expect(optimised.stdout).toContain('define ');
    const assembly = await callTrellis('dump', 'monotonic', '--stage', 'asm', '--target', 'neon');
    expect(assembly).toMatchObject({ code: 0, stderr: '' });
    expect(assembly.stdout).toMatch(/\bfmla\b|\bfmul\b/);
  });

  testLlvm('--out writes a file for each stage, and says which', async () => {
    const out = join(folder, 'dump');
    const { code, stdout, stderr } = await spawnTrellis(['dump', 'rnnt', '--out', out]);
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
    const files = stdout.trim().split('\n');
    expect(
      readdirSync(out)
        .map((name) => join(out, name))
        .sort(),
    ).toEqual([...files].sort());
    expect(files).toHaveLength(7);
    for (const path of files) expect(readFileSync(path, 'utf8').length).toBeGreaterThan(100);
  });
});

describe('trellis doctor', () => {
  test('tells of every part, and which device auto takes', async () => {
    const { code, stdout, stderr } = await spawnTrellis(['doctor'], { env });
    // Dawn has words of its own for some drivers.
    const ours = stderr.split('\n').filter((line) => line.startsWith('error') || line.startsWith('trellis'));
    expect({ code, ours }).toEqual({ code: 0, ours: [] });
    for (const what of ['Node', 'machine', 'koffi', 'libLLVM', 'kernels', 'front end', 'GPU', 'cache'])
      expect(stdout).toContain(what);
    const auto = stdout.includes(': a real GPU') ? 'webgpu' : hasLlvm ? 'cpu' : 'reference';
    expect(stdout.trim().split('\n').at(-1)).toBe(`device auto will use: ${auto}`);
  });

  test('without libLLVM: still exit code 0, and the line to type', async () => {
    const { code, stdout } = await spawnTrellis(['doctor', '--json'], {
      env: { ...env, TRELLIS_LIBLLVM: join(folder, 'none') },
    });
    expect(code).toBe(0);
    const report = JSON.parse(stdout) as { device: string; problems: string[]; findings: Record<string, unknown>[] };
    expect(report).toMatchObject({ trellis: version, device: 'reference', problems: [] });
    expect(report.findings.find(({ what }) => what === 'libLLVM')).toMatchObject({
      state: 'missing',
      install: expect.any(String),
    });
    const gpu = report.findings.find(({ what }) => what === 'GPU');
    if (gpu?.state === 'ok') {
      const [adapter] = gpu.adapters as {
        description: string;
        software: boolean;
        limits: object;
        features: string[];
      }[];
      expect(gpu.real).toBe(!adapter?.software);
      expect(adapter).toMatchObject({ limits: { maxStorageBufferBindingSize: expect.any(Number) } });
    } else expect(gpu?.text).toMatch(/no adapter|WebGPU/);
    expect(report.findings.find(({ what }) => what === 'cache')).toMatchObject({
      folder: env.TRELLIS_CACHE_DIR,
      writable: true,
    });
  });
});

describe('--device webgpu', () => {
  test('computes, or says what to install', async () => {
    const words = ['loss', 'rnnt', '--acts', example('published-big/acts.npy')];
    words.push('--labels', example('published-big/labels.npy'), '--device', 'webgpu', '--json');
    const { code, stdout, stderr } = await spawnTrellis(words, { env });
    if (gpuMissing === undefined) {
      const { device, costs } = JSON.parse(stdout) as { device: string; costs: number[] };
      expect(code).toBe(0);
      expect(device).toBe('webgpu');
      expect(Math.abs(costs[0]! / 4.280652889616656 - 1)).toBeLessThan(2e-5);
    } else {
      expect(code).toBe(1);
      expect(stderr).toMatch(/error: .*(adapter|webgpu)/);
    }
  });

  test('without any driver: one line that says what to install', async () => {
    const words = ['loss', 'rnnt', '--acts', example('published-big/acts.npy')];
    words.push('--labels', example('published-big/labels.npy'), '--device', 'webgpu');
    const { code, stdout, stderr } = await spawnTrellis(words, {
      env: { ...env, VK_DRIVER_FILES: join(folder, 'none.json'), VK_ICD_FILENAMES: join(folder, 'none.json') },
    });
    if (process.platform !== 'linux') return expect(code).toBe(gpuMissing === undefined ? 0 : 1);
    expect(stdout).toBe('');
    expect(stderr).toMatch(/error: no GPU adapter was found; install .*mesa-vulkan-drivers/);
    return expect(code).toBe(1);
  });
});
