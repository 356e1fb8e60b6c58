import { isBelow, levelId, matches, sameLevel, type Level } from './level.ts'
import { itemToJson, sameItem, type ItemJson, type ScheduleItem } from './schedule.ts'

export interface LevelSchedule {
  level: Level
  /** as formatLevelName writes it */
  name: string
  items: ScheduleItem[]
}

/** All schedules of a cluster, as they were loaded. */
export class Schedules {
  private readonly byId = new Map<string, LevelSchedule>()

  constructor(schedules: Iterable<LevelSchedule> = []) {
    for (const schedule of schedules) this.byId.set(levelId(schedule.level), schedule)
  }

  get size(): number {
    return this.byId.size
  }

  at(level: Level): LevelSchedule | undefined {
    return this.byId.get(levelId(level))
  }

  /** The schedule that holds for an image: the most specific one. */
  find(image: Required<Level>): LevelSchedule | undefined {
    const levels: Level[] = [
      image,
      { ...image, imageId: undefined },
      { ...image, namespace: undefined, imageId: undefined },
      { poolId: undefined, namespace: undefined, imageId: undefined },
    ]
    for (const level of levels) {
      const found = this.at(level)
      if (found) return found
    }
    return undefined
  }

  /** Whether any schedule may hold for something in here. */
  touches(level: Level): boolean {
    return [...this.byId.values()].some((schedule) => matches(schedule.level, level) || matches(level, schedule.level))
  }

  /** With an item more, as it is to be stored. */
  withItem(level: Level, item: ScheduleItem): ScheduleItem[] {
    const items = this.at(level)?.items ?? []
    return items.some((other) => sameItem(other, item)) ? items : [...items, item]
  }

  /** Without an item, or without all of them; undefined when nothing is left, and the schedule is to go. */
  withoutItem(level: Level, item: ScheduleItem | undefined): ScheduleItem[] | undefined {
    const left = item === undefined ? [] : (this.at(level)?.items ?? []).filter((other) => !sameItem(other, item))
    return left.length === 0 ? undefined : left
  }

  /** What holds at a level, from there or the nearest above, and all below, by level id. */
  list(level: Level): Record<string, { name: string; schedule: ItemJson[] }> {
    const all = [...this.byId.values()]
    const above = all.filter((other) => sameLevel(other.level, level) || isBelow(level, other.level))
    const nearest = above.sort((a, b) => levelId(b.level).length - levelId(a.level).length)[0]
    const listed = all.filter((other) => other === nearest || isBelow(other.level, level))
    return Object.fromEntries(listed.map(({ level: at, name, items }) => [levelId(at), { name, schedule: items.map(itemToJson) }]))
  }
}
