import { expect, test } from 'vitest'
import { acceptedPrefixes, roundTrip, vectors } from '../../../test/support/vectors.ts'
import { NO_POLICY_DATA, PolicyData } from './policy-data.ts'

test.each(vectors('rbd::mirror::image_map::PolicyData'))('PolicyData $name', ({ bytes }) => {
  expect(roundTrip(PolicyData, bytes)).toBe(bytes.toString('hex'))
  expect(NO_POLICY_DATA.toString('hex')).toBe(bytes.toString('hex'))
  expect(acceptedPrefixes(PolicyData, bytes)).toEqual([])
})
