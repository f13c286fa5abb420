// Packs the package, installs the tarball in an empty folder elsewhere, and uses it as a stranger would: golden cases
// through the library, the command on the shipped spec and on a copied one, and the declarations under strict tsc.
import { spawnSync } from 'node:child_process';
import { cpSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { root } from './setup.mjs';

const folder = mkdtempSync(join(tmpdir(), 'trellis-packed-'));
const env = { ...process.env, TRELLIS_CACHE_DIR: join(folder, 'cache') };

/** Runs a command and returns its stdout; ends the whole test where it fails. */
function run(cwd, command, ...args) {
  const result = spawnSync(command, args, { cwd, env, encoding: 'utf8', shell: process.platform === 'win32' });
  if (result.status === 0) return result.stdout;
  console.log(
    `failed (${result.status ?? result.error}): ${command} ${args.join(' ')}\n${result.stdout}${result.stderr}`,
  );
  throw new Error(`${command} failed`);
}

try {
  run(root, 'npm', 'pack', '--pack-destination', folder);
  const tarball = readdirSync(folder).find((name) => name.endsWith('.tgz'));
  const app = join(folder, 'app');
  cpSync(join(root, 'scripts', 'packed'), app, { recursive: true });
  writeFileSync(join(app, 'package.json'), JSON.stringify({ name: 'app', private: true, type: 'module' }));
  run(app, 'npm', 'install', '--no-audit', '--no-fund', '--loglevel=error', join(folder, tarball));
  console.log(`installed ${tarball} in an empty folder`);

  console.log(run(app, process.execPath, 'golden.mjs', join(root, 'test', 'cases')).trim());

  // The shipped spec, and a user's copy of it outside the package, must print the same loss on both devices.
  cpSync(join(root, 'specs', 'rnnt.ts'), join(app, 'my-loss.ts'));
  const example = join(root, 'examples', 'published-big');
  const files = { acts: 'acts', labels: 'labels', 'act-lens': 'act-lens', 'label-lens': 'label-lens' };
  const tensors = Object.entries(files).flatMap(([option, file]) => [`--${option}`, join(example, `${file}.npy`)]);
  const devices = process.env.TRELLIS_DEVICES?.split(',') ?? ['reference', 'cpu'];
  for (const spec of ['rnnt', './my-loss.ts']) {
    for (const device of devices) {
      const words = ['trellis', 'loss', spec, ...tensors, '--reduction', 'sum', '--device', device, '--json'];
      const { loss } = JSON.parse(run(app, 'npx', ...words));
      if (!(Math.abs(loss - 8.219089839) < 1e-4)) throw new Error(`${words.join(' ')} printed the loss ${loss}`);
    }
  }
  console.log('npx trellis loss: the shipped spec and a copied one agree with the published costs');
  // A shipped spec is not read, until it is edited; then the edit counts.
  const shipped = join(app, 'node_modules', 'trellis-jit', 'specs', 'rnnt-normalized.ts');
  const words = ['trellis', 'loss', 'rnnt-normalized', ...tensors, '--reduction', 'sum', '--json', '--no-cache'];
  const timed = () => {
    const [name, ...rest] = words;
    const result = spawnSync('npx', [name, ...rest], {
      cwd: app,
      env: { ...env, TRELLIS_TIME: '1' },
      encoding: 'utf8',
      shell: process.platform === 'win32',
    });
    return {
      stages: [...result.stderr.matchAll(/^trellis: \S+: (\w+)/gm)].map((match) => match[1]),
      ...JSON.parse(result.stdout),
    };
  };
  if (devices.includes('cpu')) {
    const before = timed();
    const text = readFileSync(shipped, 'utf8');
    const edited = text.replace('* logLik,', '* 2 * logLik,');
    if (edited === text) throw new Error('nothing to edit in rnnt-normalized.ts');
    writeFileSync(shipped, edited);
    const after = timed();
    writeFileSync(shipped, text);
    if (before.stages.includes('graph')) throw new Error(`a shipped spec was read: ${before.stages.join(', ')}`);
    if (!after.stages.includes('graph')) throw new Error(`an edited spec was not read: ${after.stages.join(', ')}`);
    if (after.loss === before.loss) throw new Error(`an edit of a shipped spec did not count: ${after.loss}`);
    console.log('shipped specs start without the parser, and an edited one is read again');
  }
  run(app, 'npx', 'trellis', 'dump', './my-loss.ts', '--stage', 'kernels');
  run(app, 'npx', 'trellis', 'doctor');
  if (devices.includes('cpu')) {
    const words = ['trellis', 'bench', '2,20,9,64', '--rounds', '1', '--json'];
    const { shapes } = JSON.parse(run(app, 'npx', ...words));
    if (!(shapes[0].ratio.lossAndGradient.median > 0)) throw new Error(`${words.join(' ')} measured nothing`);
    console.log('npx trellis bench: processes of its own are found in the installed package');
  }

  const compilerOptions = {
    strict: true,
    module: 'NodeNext',
    target: 'ES2022',
    lib: ['ES2023', 'DOM'],
    noEmit: true,
    types: [],
    // Every declaration is read, so one that is missing or needs a development dependency shows.
    skipLibCheck: false,
  };
  writeFileSync(join(app, 'tsconfig.json'), JSON.stringify({ compilerOptions, files: ['consumer.ts', 'my-loss.ts'] }));
  run(app, process.execPath, join(root, 'node_modules', 'typescript', 'bin', 'tsc'), '-p', '.');
  console.log('declarations: a strict consumer and a copied spec type-check');
} catch (error) {
  console.log(`packed package: ${error.message}`);
  process.exitCode = 1;
} finally {
  rmSync(folder, { recursive: true, force: true });
}
