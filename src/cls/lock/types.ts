import { enumeration, string, u8, utime, type Codec, type Infer } from '../../encoding/codec.ts'
import { EntityAddr, EntityName } from '../../encoding/entity.ts'
import { struct } from '../../encoding/struct.ts'

/* The values of object class `lock` (cls/lock/cls_lock_{types,ops}.h). */

/** `exclusive-ephemeral`: unlocking removes the object. */
export const LockType = enumeration(u8, { none: 0, exclusive: 1, shared: 2, 'exclusive-ephemeral': 3 })
export type LockType = Infer<typeof LockType>

export const LockFlag = {
  /** the same locker with the same cookie may lock again */
  mayRenew: 1,
  /** it must have the lock already */
  mustRenew: 2,
} as const

const LockerId = struct({ version: 1, compat: 1 }, { locker: EntityName, cookie: string })
const LockerInfo = struct({ version: 1, compat: 1 }, { expiration: utime, addr: EntityAddr, description: string })

export interface Locker {
  /** the client that holds the lock, `num` is its global id */
  locker: EntityName
  cookie: string
  /** zero for never */
  expiration: Infer<typeof utime>
  addr: EntityAddr
  description: string
}

export interface LockInfo {
  lockers: Locker[]
  /** `none` when nobody ever locked it */
  type: LockType
  tag: string
}

export const LockInfo: Codec<LockInfo> = {
  encode(encoder, value) {
    encoder.versioned(1, 1, () => {
      encoder.u32(value.lockers.length)
      for (const locker of value.lockers) {
        LockerId.encode(encoder, locker)
        LockerInfo.encode(encoder, locker)
      }
      LockType.encode(encoder, value.type)
      encoder.string(value.tag)
    })
  },
  decode: (decoder) =>
    decoder.versioned(1, () => {
      const lockers: Locker[] = []
      for (let left = decoder.count(); left > 0; left--) {
        const { locker, cookie } = LockerId.decode(decoder)
        const { expiration, addr, description } = LockerInfo.decode(decoder)
        lockers.push({ locker, cookie, expiration, addr, description })
      }
      return { lockers, type: LockType.decode(decoder), tag: decoder.string() }
    }),
}
