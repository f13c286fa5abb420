/**
 * Imports go one way: specs -> dsl; compiler -> dsl; runtime -> compiler, dsl.
 * `npm run check:imports` runs this over every source folder.
 *
 * @type {import('dependency-cruiser').IConfiguration}
 */
module.exports = {
  forbidden: [
    {
      name: 'no-cycles',
      comment: 'A cycle makes two files one. Type-only imports vanish from the program, so they may point back.',
      severity: 'error',
      from: {},
      to: { circular: true, viaOnly: { dependencyTypesNot: ['type-only'] } },
    },
    {
      name: 'specs-see-only-dsl',
      comment: 'A spec is equations: it may import the vocabulary (trellis-jit/dsl) and other specs, nothing else.',
      severity: 'error',
      from: { path: '^specs/' },
      to: { pathNot: '^(dsl|specs)/' },
    },
    {
      name: 'dsl-stands-alone',
      comment: 'The vocabulary and the float64 reference import nothing, so that a spec runs anywhere TypeScript does.',
      severity: 'error',
      from: { path: '^dsl/' },
      to: { pathNot: '^dsl/' },
    },
    {
      name: 'compiler-never-runtime',
      comment:
        'The compiler turns text into text; only the runtime touches memory, threads and files of compiled code.',
      severity: 'error',
      from: { path: '^compiler/' },
      to: { path: '^(runtime|specs|test|bench|examples|scripts)/' },
    },
    {
      name: 'runtime-below-tests',
      comment: 'Sources of the package never import what is not in the package.',
      severity: 'error',
      from: { path: '^runtime/' },
      to: { path: '^(test|bench|examples|scripts)/' },
    },
    {
      name: 'library-never-cli',
      comment: 'The command line is a user of the library.',
      severity: 'error',
      from: { path: '^runtime/', pathNot: '^runtime/cli/' },
      to: { path: '^runtime/cli/' },
    },
    {
      name: 'ts-morph-only-in-frontend',
      comment: 'Everything after the front end works on graphs, so a warm start need not load the TypeScript compiler.',
      severity: 'error',
      from: { path: '^(dsl|compiler|runtime)/', pathNot: '^compiler/frontend/' },
      to: { path: '(^|/)node_modules/(ts-morph|typescript)/', dependencyTypesNot: ['type-only'] },
    },
    {
      name: 'koffi-only-in-cpu',
      comment: 'One folder owns native calls.',
      severity: 'error',
      from: { path: '^(dsl|compiler|runtime)/', pathNot: '^runtime/cpu/' },
      to: { path: '(^|/)node_modules/koffi/' },
    },
    {
      name: 'browser-carries-no-compiler',
      comment:
        'A page loads what runs losses: nothing of the compiler, of the CPU or of Node is reached from its entry.',
      severity: 'error',
      from: { path: '^runtime/browser/' },
      to: {
        path: '^(compiler/(frontend|schedule|llvm)/|runtime/(cli|compiler|reference)/|runtime/cpu/(?!extents)|(node:)?(fs|path|url|crypto|os|module)$)|node_modules/(?!webgpu/)',
        reachable: true,
      },
    },
    {
      name: 'resolvable',
      comment: 'An import that nothing answers to.',
      severity: 'error',
      from: { pathNot: '^test/.*(mistakes|fixtures)/' },
      // The losses of examples/browser are built with its page.
      to: { couldNotResolve: true, pathNot: '^[.]/(losses|alignment)[.]js$' },
    },
    {
      name: 'no-dev-dependencies-in-the-package',
      comment: 'The installed package has no development dependencies.',
      severity: 'error',
      // worker-from-source.mjs starts the compiler's thread where sources run, in a checkout; the build leaves it out.
      from: { path: '^(dsl|compiler|runtime)/', pathNot: '^runtime/compiler/worker-from-source[.]mjs$' },
      to: { dependencyTypes: ['npm-dev'], dependencyTypesNot: ['type-only'] },
    },
  ],
  options: {
    doNotFollow: { path: 'node_modules' },
    // Wrong specs, kept as inputs of the diagnostics' tests, are data.
    exclude: { path: '^(test/.*(mistakes|fixtures)/|dist/)' },
    tsPreCompilationDeps: true,
    tsConfig: { fileName: 'tsconfig.json' },
    enhancedResolveOptions: {
      exportsFields: ['exports'],
      conditionNames: ['import', 'node', 'default', 'types'],
      extensions: ['.ts', '.js', '.mjs', '.cjs', '.json'],
    },
  },
};
