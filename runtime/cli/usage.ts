/** What the user typed, or a file they named, cannot be used: exit code 2, the message alone on stderr. */
export class UsageError extends Error {
  override readonly name = 'UsageError';
}
