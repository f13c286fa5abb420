/**
 * Where a kernel's own stores and loads need a barrier between them.
 *
 * Outside of lanes loops all invocations load, and the first one stores (`solo`); in lanes loops each does its own.
 * Two statements conflict where one stores what the other loads, or where lanes of both store to one buffer:
 * which invocation does which element may differ. Within one lanes loop there is nothing to wait for, by the rules of kernels.
 */
import { operandsOf, partsOf } from '../kernel/analysis.js';
import type { KExpr, KLoop, KStmt } from '../kernel/kernel.js';

export interface Accesses {
  readonly loads: ReadonlySet<string>;
  readonly soloStores: ReadonlySet<string>;
  readonly laneStores: ReadonlySet<string>;
  /** Of laneStores, those of more than one statement. */
  readonly severalStores: ReadonlySet<string>;
}

/**
 * What a statement touches, its inner statements included. `stored`: the buffers the kernel stores to; others never conflict.
 * `abreast`: loops whose iterations run side by side, as lanes do.
 */
export function accessesOf(
  statement: KStmt,
  stored: ReadonlySet<string>,
  abreast: ReadonlySet<KLoop> | undefined,
): Accesses {
  const loads = new Set<string>();
  const soloStores = new Set<string>();
  const laneStores = new Set<string>();
  const severalStores = new Set<string>();
  const expr = (each: KExpr): void => {
    if (each.op === 'load' && stored.has(each.buffer)) loads.add(each.buffer);
    for (const operand of operandsOf(each)) expr(operand);
  };
  const visit = (each: KStmt, inLanes: boolean): void => {
    if (each.kind === 'prefetch') return;
    if (each.kind === 'store') {
      if (inLanes && laneStores.has(each.buffer)) severalStores.add(each.buffer);
      (inLanes ? laneStores : soloStores).add(each.buffer);
    }
    const { exprs, inner } = partsOf(each);
    exprs.forEach(expr);
    const lanesInside = inLanes || (each.kind === 'loop' && (each.mode === 'lanes' || abreast?.has(each) === true));
    for (const one of inner) visit(one, lanesInside);
  };
  visit(statement, false);
  return { loads, soloStores, laneStores, severalStores };
}

export function storedBuffers(body: readonly KStmt[]): Set<string> {
  const stored = new Set<string>();
  const visit = (statement: KStmt): void => {
    if (statement.kind === 'store') stored.add(statement.buffer);
    partsOf(statement).inner.forEach(visit);
  };
  body.forEach(visit);
  return stored;
}

/** What has happened since the last barrier. */
export class Pending {
  private loads = new Set<string>();
  private soloStores = new Set<string>();
  private laneStores = new Set<string>();

  conflictsWith({ loads, soloStores, laneStores }: Accesses): boolean {
    return (
      meet(this.loads, soloStores) ||
      meet(this.loads, laneStores) ||
      meet(this.soloStores, loads) ||
      meet(this.soloStores, laneStores) ||
      meet(this.laneStores, loads) ||
      meet(this.laneStores, soloStores) ||
      meet(this.laneStores, laneStores)
    );
  }
  /**
   * The same between an iteration and the next one of the same loop, except that the iterations of one storing statement
   * go over elements of their own.
   */
  conflictsAcrossIterations(body: Accesses): boolean {
    return (
      this.conflictsWith({ ...body, laneStores: body.severalStores }) ||
      meet(this.loads, body.laneStores) ||
      meet(this.soloStores, body.laneStores)
    );
  }
  add({ loads, soloStores, laneStores }: Pick<Accesses, 'loads' | 'soloStores' | 'laneStores'>): void {
    for (const name of loads) this.loads.add(name);
    for (const name of soloStores) this.soloStores.add(name);
    for (const name of laneStores) this.laneStores.add(name);
  }
  clear(): void {
    this.loads.clear();
    this.soloStores.clear();
    this.laneStores.clear();
  }
  copy(): Pending {
    const copy = new Pending();
    copy.add(this.all());
    return copy;
  }
  /** Takes over what happened on another way to the same place. */
  join(other: Pending): void {
    this.add(other.all());
  }
  private all() {
    return { loads: this.loads, soloStores: this.soloStores, laneStores: this.laneStores };
  }
}

function meet(a: ReadonlySet<string>, b: ReadonlySet<string>): boolean {
  for (const name of a) if (b.has(name)) return true;
  return false;
}
