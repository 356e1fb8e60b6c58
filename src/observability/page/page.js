'use strict'
// The daemon's status page: shows what /api/stream sends. Nothing of it is ever taken as HTML.
const PAGE = 50
const byId = (id) => document.getElementById(id)
const filters = byId('filters')
let offset = 0
let source
let matching = 0

function element(tag, className, ...children) {
  const made = document.createElement(tag)
  if (className) made.className = className
  made.append(...children.filter((child) => child !== undefined && child !== null && child !== ''))
  return made
}

function bytes(count) {
  const units = ['B', 'KiB', 'MiB', 'GiB', 'TiB', 'PiB']
  let unit = 0
  while (count >= 1024 && unit < units.length - 1) {
    count /= 1024
    unit++
  }
  return `${unit === 0 || count >= 100 ? Math.round(count) : count.toFixed(1)} ${units[unit]}`
}

function duration(seconds) {
  if (seconds < 1) return seconds === 0 ? '0 s' : '< 1 s'
  if (seconds < 120) return `${Math.round(seconds)} s`
  if (seconds < 7200) return `${Math.round(seconds / 60)} min`
  if (seconds < 172800) return `${Math.round(seconds / 3600)} h`
  return `${Math.round(seconds / 86400)} d`
}

const time = (ms) => new Date(ms).toLocaleString(undefined, { dateStyle: 'short', timeStyle: 'medium' })

function sparkline(history) {
  const known = history.filter((value) => value !== null)
  if (known.length < 2) return undefined
  const most = Math.max(...known, 1)
  let path = ''
  let pen = 'M'
  history.forEach((value, index) => {
    if (value === null) {
      pen = 'M'
      return
    }
    path += `${pen}${((index * 118) / (history.length - 1) + 1).toFixed(1)} ${(24 - (value / most) * 22).toFixed(1)}`
    pen = 'L'
  })
  const svg = document.createElementNS('http://www.w3.org/2000/svg', 'svg')
  svg.setAttribute('class', 'spark')
  svg.setAttribute('viewBox', '0 0 120 26')
  svg.setAttribute('role', 'img')
  svg.setAttribute('aria-label', `lag in the last ${history.length} minutes, at most ${duration(most)}`)
  const line = document.createElementNS('http://www.w3.org/2000/svg', 'path')
  line.setAttribute('d', path)
  svg.append(line)
  return svg
}

function behind(image) {
  if (image.reason === 'primary') return element('td', '', 'primary here')
  const cell = element('td', '')
  if (image.lagSeconds === null) cell.append('unknown')
  else {
    const late = image.rpoSeconds !== null && image.lagSeconds > image.rpoSeconds
    cell.append(element('span', late ? 'late' : '', duration(image.lagSeconds)))
    if (image.rpoSeconds !== null) cell.append(element('span', 'soft', ` of ${duration(image.rpoSeconds)}`))
  }
  const more = []
  if (image.entriesBehind) more.push(`${image.entriesBehind} journal entries`)
  if (image.pendingSnapshots) more.push(`${image.pendingSnapshots} snapshot${image.pendingSnapshots > 1 ? 's' : ''}`)
  if (image.pendingBytes) more.push(`about ${bytes(image.pendingBytes)}`)
  if (more.length > 0) cell.append(element('div', 'soft', more.join(', ')))
  return cell
}

function progress(image) {
  const cell = element('td', '')
  if (image.progress !== null) {
    const bar = document.createElement('progress')
    bar.max = 1
    bar.value = image.progress
    cell.append(bar, ` ${Math.floor(image.progress * 100)} %`)
  }
  const parts = []
  if (image.bytesPerSecond > 0) parts.push(`${bytes(image.bytesPerSecond)}/s`)
  if (image.secondsLeft !== null) parts.push(`${duration(image.secondsLeft)} left`)
  if (image.progress === null && image.lastSyncSeconds !== null) {
    parts.push(`last sync ${bytes(image.lastSyncBytes)} in ${duration(image.lastSyncSeconds)}`)
  }
  if (parts.length > 0) cell.append(element('div', 'soft', parts.join(', ')))
  return cell
}

function imageRow(image) {
  const name = element('td', 'name', element('span', 'dot'), ` ${image.spec}`)
  name.title = image.globalImageId
  if (image.healthText) name.append(element('div', 'why', image.healthText))
  const state = element('td', '', image.state, element('div', 'soft', `since ${time(image.stateSince)}`))
  const row = element('tr', image.health, name, state, behind(image), element('td', '', sparkline(image.lagHistory)), progress(image))
  row.dataset.image = image.spec
  return row
}

function poolCard(pool, peers) {
  const levels = pool.health.map(({ level }) => level)
  const mine = peers.filter((peer) => peer.pool === pool.pool && peer.peer === pool.peer)
  if (mine.some((peer) => peer.up === false)) levels.push('error')
  const worst = ['error', 'warning', 'ok'].find((level) => levels.includes(level)) ?? 'ok'
  const title = element('h3', '', element('span', 'dot'), ` ${pool.pool}${pool.namespace ? `/${pool.namespace}` : ''}`)
  const lines = [
    ...mine.map((peer) => {
      const reached = peer.up === null ? 'led by another daemon' : peer.up ? 'reached' : 'not reached'
      const { sync, deletion } = peer.queues
      const queues = [sync.running && `${sync.running} syncing`, sync.waiting && `${sync.waiting} waiting`, deletion.waiting && `${deletion.waiting} to delete`]
      return [`peer ${peer.peer}: ${reached}`, peer.leader && 'leader', ...queues].filter(Boolean).join(', ')
    }),
    `${pool.images} image${pool.images === 1 ? '' : 's'}: ${Object.entries(pool.states).map(([state, count]) => `${count} ${state}`).join(', ')}`,
    pool.health.filter(({ level }) => level !== 'ok').map(({ reason, images }) => `${images} ${reason.replaceAll('_', ' ')}`).join(', '),
    [
      pool.worstLagSeconds !== null && `at most ${duration(pool.worstLagSeconds)} behind`,
      pool.entriesBehind && `${pool.entriesBehind} journal entries`,
      pool.pendingSnapshots && `${pool.pendingSnapshots} pending snapshots`,
      pool.bytesPerSecond > 0 && `${bytes(pool.bytesPerSecond)}/s`,
    ].filter(Boolean).join(', '),
  ].filter((line) => line !== '')
  return element('div', `card ${worst}`, title, ...lines.map((line) => element('p', '', line)))
}

function idlePeerCard(peer) {
  const title = element('h3', '', element('span', 'dot'), ` ${peer.pool}`)
  const reached = peer.up === null ? 'led by another daemon' : peer.up ? 'reached, no image yet' : 'not reached'
  return element('div', `card ${peer.up === false ? 'error' : 'ok'}`, title, element('p', '', `peer ${peer.peer}: ${reached}`))
}

function showStatus(status) {
  const { daemon } = status
  byId('overall').className = `dot ${status.health}`
  byId('overall').title = status.health
  document.title = `${status.health === 'ok' ? '' : `${status.health}: `}rbd-mirror ${daemon.cluster}`
  byId('daemon').textContent = `${daemon.version}, cluster ${daemon.cluster}, ${daemon.entity} on ${daemon.hostname}`
  const delay = daemon.eventLoopDelay
  byId('figures').textContent = [
    `${status.images} images`,
    `${bytes(status.bytesPerSecond)}/s`,
    `up for ${duration((daemon.now - daemon.startedAt) / 1000)}`,
    `${bytes(daemon.residentBytes)} of memory`,
    delay && `event loop delay ${(delay.p99 * 1000).toFixed(1)} ms (p99)`,
    ...status.bandwidth.filter(({ limit }) => limit !== undefined).map(({ scope, limit }) => `limit of ${scope}: ${bytes(limit)}/s`),
  ].filter(Boolean).join(' · ')
  const withImages = new Set(status.pools.map(({ pool, peer }) => `${pool}\n${peer}`))
  const idle = status.peers.filter(({ pool, peer }) => !withImages.has(`${pool}\n${peer}`))
  byId('pools').replaceChildren(...status.pools.map((pool) => poolCard(pool, status.peers)), ...idle.map(idlePeerCard))
  showPoolChoice([...new Set(status.pools.map(({ pool }) => pool))])
  byId('events').replaceChildren(
    ...status.events.map((event) => {
      const where = [event.pool, event.namespace, event.image].filter((part) => part !== '').join('/')
      return element('li', event.level === 'info' ? 'ok' : event.level, element('span', 'dot'), element('span', 'soft', ` ${time(event.at)} `), `${where}: ${event.text}`)
    }),
  )
}

function showPoolChoice(pools) {
  const select = filters.elements.pool
  const shown = [...select.options].slice(1).map(({ value }) => value)
  if (shown.join('\n') === pools.join('\n')) return
  const chosen = select.value
  select.replaceChildren(new Option('all pools', ''), ...pools.map((pool) => new Option(pool, pool)))
  if (pools.includes(chosen)) select.value = chosen
}

function showImages(page) {
  matching = page.matching
  if (page.images.length === 0 && offset > 0 && matching > 0) {
    offset = Math.floor((matching - 1) / PAGE) * PAGE
    connect()
    return
  }
  byId('matching').textContent = matching === page.total ? `${matching}` : `${matching} of ${page.total}`
  byId('images').replaceChildren(...page.images.map(imageRow))
  byId('none').hidden = matching > 0
  byId('position').textContent = matching === 0 ? '' : `${page.offset + 1}–${page.offset + page.images.length} of ${matching}`
  byId('back').disabled = offset === 0
  byId('on').disabled = offset + PAGE >= matching
}

function connect() {
  source?.close()
  const query = new URLSearchParams()
  for (const [name, value] of new FormData(filters)) if (value !== '') query.set(name, value)
  query.set('offset', String(offset))
  query.set('limit', String(PAGE))
  source = new EventSource(`/api/stream?${query}`)
  source.addEventListener('status', ({ data }) => showStatus(JSON.parse(data)))
  source.addEventListener('images', ({ data }) => showImages(JSON.parse(data)))
  source.onopen = () => (byId('offline').hidden = true)
  const mine = source
  source.onerror = () => {
    byId('offline').hidden = false
    byId('overall').className = 'dot'
    // an answer that is no stream ends the source for good
    if (mine.readyState === EventSource.CLOSED) setTimeout(() => mine === source && connect(), 5000)
  }
}

let typing
filters.addEventListener('input', () => {
  clearTimeout(typing)
  typing = setTimeout(() => {
    offset = 0
    connect()
  }, 250)
})
filters.addEventListener('submit', (event) => event.preventDefault())
byId('back').addEventListener('click', () => {
  offset = Math.max(0, offset - PAGE)
  connect()
})
byId('on').addEventListener('click', () => {
  if (offset + PAGE < matching) offset += PAGE
  connect()
})
connect()
