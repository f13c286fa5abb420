// @ts-nocheck
// not-a-loss: { name: 'wrong' }
export default { name: 'wrong' };
