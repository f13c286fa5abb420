/** What the user typed, or a file they named, cannot be used: exit code 2, the message alone on stderr. */
export class UsageError extends Error {
  override readonly name = 'UsageError';
}

/** A command has printed why it failed: exit code 1, and nothing more on stderr. */
export class Reported extends Error {
  override readonly name = 'Reported';
}
