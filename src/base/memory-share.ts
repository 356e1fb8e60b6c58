/** An amount of memory that is divided evenly among those who use it at the moment. */
export class MemoryShare {
  private users = 0

  /**
   * @param total bytes for all users together
   * @param most bytes for one, however few there are
   */
  constructor(
    private readonly total: number,
    private readonly most: number,
  ) {}

  /** bytes that each user may hold now; follows the number of users */
  get share(): number {
    return Math.min(this.most, Math.floor(this.total / Math.max(1, this.users)))
  }

  /** Resigns with the returned function, once. */
  join(): () => void {
    this.users++
    let member = true
    return () => {
      if (member) this.users--
      member = false
    }
  }
}
