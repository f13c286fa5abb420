// The set-up that `npm start` and `npm test` need, in plain JavaScript because it runs before node_modules exists.
// It brings in the npm packages, always, and libLLVM only where that asks nobody for a password: as root on Debian
// or Ubuntu (a container, CI). Elsewhere it prints the line to type and goes on. All it says goes to stderr.
import { spawnSync } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';

export const root = dirname(dirname(fileURLToPath(import.meta.url)));

/** Debian and Ubuntu packages, the one most tested first, then newer, then older. */
const aptPackages = ['libllvm19', 'libllvm20', 'libllvm21', 'libllvm18', 'libllvm17', 'libllvm16', 'libllvm15'];

const say = (text) => process.stderr.write(`setup: ${text}\n`);

/** Runs a command with its output on our stderr; true when it succeeded. */
function run(command, args, options = {}) {
  const result = spawnSync(command, args, { cwd: root, stdio: ['ignore', 2, 2], ...options });
  return result.status === 0;
}

function npm(args) {
  // Inside `npm start` npm tells where its own script lies, which also works where `npm` is no executable (Windows).
  const script = process.env.npm_execpath;
  if (script && /npm-cli\.[cm]?js$/.test(script)) return run(process.execPath, [script, ...args]);
  return run('npm', args, { shell: process.platform === 'win32' });
}

/** Why the packages must be installed, or null when node_modules holds what package-lock.json says. */
export function whyInstall(folder = root) {
  const read = (path) => JSON.parse(readFileSync(join(folder, path), 'utf8'));
  // npm's own record of what lies in node_modules. Contents are compared, not dates: git does not keep dates.
  if (!existsSync(join(folder, 'node_modules', '.package-lock.json'))) return 'node_modules is missing';
  const wanted = read('package-lock.json').packages;
  const present = read('node_modules/.package-lock.json').packages;
  for (const [path, entry] of Object.entries(wanted)) {
    if (path === '' || entry.link) continue;
    const name = path.replace(/^.*node_modules\//, '');
    if (!present[path]) {
      if (entry.optional || entry.peer) continue; // packages of other platforms
      return `${name} ${entry.version} is not installed`;
    }
    if (present[path].version !== entry.version) {
      return `${name} is ${present[path].version}, package-lock.json says ${entry.version}`;
    }
  }
  return null;
}

function installPackages() {
  const why = whyInstall();
  if (!why) return;
  say(`installing the npm packages (npm ci), because ${why}`);
  // Of npm's remarks only errors are for whoever wants to see this package work.
  const quiet = ['--no-audit', '--no-fund', '--no-update-notifier', '--loglevel=error'];
  if (npm(['ci', ...quiet])) return;
  say('npm ci failed; trying npm install');
  if (npm(['install', ...quiet])) return;
  say('the npm packages could not be installed; see the messages above');
  process.exit(1);
}

function isDebian() {
  try {
    return /^ID(_LIKE)?=.*\b(debian|ubuntu)\b/m.test(readFileSync('/etc/os-release', 'utf8'));
  } catch {
    return false;
  }
}

/** Tries apt packages until one installs; true when one did. */
function aptInstall() {
  const options = { env: { ...process.env, DEBIAN_FRONTEND: 'noninteractive' } };
  say('no usable libLLVM was found; installing one through apt, as this runs as root on Debian or Ubuntu');
  if (!run('apt-get', ['update', '-qq'], options)) say('apt-get update failed; trying with the lists that are here');
  for (const name of aptPackages) {
    const known = spawnSync('apt-cache', ['show', name], { encoding: 'utf8' });
    if (known.status !== 0 || !known.stdout.includes('Package:')) continue;
    say(`apt-get install ${name}`);
    if (run('apt-get', ['install', '-y', '-qq', '--no-install-recommends', name], options)) return true;
  }
  return false;
}

async function findLlvm() {
  // The runtime's own search, so that set-up and kernels never disagree. tsx is there by now.
  // A fresh namespace per call: a search after apt must not see what the first one remembered.
  const { tsImport } = await import('tsx/esm/api');
  const module = await tsImport('../runtime/cpu/libllvm.ts', import.meta.url);
  return module.findLibLlvm();
}

/** Brings in what is missing. Never fails for want of libLLVM: without it the reference device does the work. */
export async function setUp() {
  const [major = 0, minor = 0] = process.versions.node.split('.').map(Number);
  if (major < 20 || (major === 20 && minor < 19)) {
    say(`Node ${process.versions.node} is too old: Trellis needs 20.19 or newer (https://nodejs.org)`);
    process.exit(1);
  }
  installPackages();
  let found = await findLlvm();
  if (!('path' in found) && !process.env.TRELLIS_LIBLLVM && process.getuid?.() === 0 && isDebian()) {
    if (aptInstall()) found = await findLlvm();
  }
  if (!('path' in found)) {
    say(found.missing);
    say(`to have kernels compiled for the CPU, ${found.advice}`);
  }
}

if (process.argv[1] && import.meta.url === pathToFileURL(process.argv[1]).href) {
  await setUp();
  say('ready');
}
