// Packs the package, installs the tarball in an empty folder elsewhere, and uses it as a stranger would: golden cases
// through the library, the command on the shipped spec and on a copied one, and the declarations under strict tsc.
import { spawnSync } from 'node:child_process';
import { cpSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
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
