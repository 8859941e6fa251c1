import ChaosAPI
import NIOHTTP1
import Threads
import Toolstack

extension Routes {
  /// `GET /v1/metrics`, for Prometheus.
  func metrics(_ request: RequestHead) throws -> Reply {
    guard request.method == .GET else { throw unknown(request) }
    return .answer { blocking in
      var text = MetricsText()
      edge.writeMetrics(to: &text)
      writeGuests(try toolstack.list(blocking), to: &text)
      writePool(toolstack.poolStatus(settings), to: &text)
      writeCounters(toolstack.counters, to: &text)
      return Answer(text: Array(text.text.utf8), contentType: MetricsText.contentType)
    }
  }

  private func writeGuests(_ guests: [GuestInfo], to text: inout MetricsText) {
    let counts = Dictionary(guests.map { ($0.state, 1) }, uniquingKeysWith: +)
    text.family("chaos_guests", .gauge, "Guests, by state.")
    for state in GuestState.allCases {
      text.sample("chaos_guests", [("state", state.rawValue)], counts[state] ?? 0)
    }
  }

  private func writePool(_ pool: PoolStatus, to text: inout MetricsText) {
    text.family("chaos_pool_ready_shells", .gauge, "Shells that wait for a guest, by flavour.")
    for flavour in pool.flavours {
      text.sample("chaos_pool_ready_shells", [("flavour", flavour.id)], flavour.ready)
    }
    text.family("chaos_pool_hits_total", .counter, "Guests made from a ready shell, by flavour.")
    for flavour in pool.flavours { text.sample("chaos_pool_hits_total", [("flavour", flavour.id)], flavour.hits) }
    text.family("chaos_creates_total", .counter, "Guests made, by the shell they got; none is a miss of the pool.")
    text.sample("chaos_creates_total", [("shell", "hot")], pool.hits.hot)
    text.sample("chaos_creates_total", [("shell", "blank")], pool.hits.blank)
    text.sample("chaos_creates_total", [("shell", "none")], pool.hits.none)
    text.single("chaos_pool_used_mebibytes", .gauge, "Memory of ready shells.", pool.usedMiB)
    text.single("chaos_pool_budget_mebibytes", .gauge, "Memory that ready shells may have.", pool.budgetMiB)
  }

  private func writeCounters(_ counters: Counters, to text: inout MetricsText) {
    text.family("chaos_hypercalls_total", .counter, "Requests to the hypervisor, by kind.")
    for (kind, count) in counters.hypercalls.sorted(by: { $0.key < $1.key }) {
      text.sample("chaos_hypercalls_total", [("kind", kind)], count)
    }
    text.single("chaos_netlink_messages_total", .counter, "rtnetlink requests.", counters.netlinkMessages)
  }
}

extension Edge {
  /// What is known of requests, connections and threads.
  func writeMetrics(to text: inout MetricsText) {
    metrics.write(to: &text)
    text.single("chaos_connections", .gauge, "Connections to the API.", connections.inUse)
    text.single("chaos_connections_max", .gauge, "Connections that are allowed.", connections.limit)
    text.single("chaos_uploads", .gauge, "Uploads under way.", uploads.inUse)
    text.single("chaos_waits", .gauge, "Calls that wait for a guest.", waits.inUse)
    text.single("chaos_consoles", .gauge, "Consoles that are followed.", consoles.inUse)
    text.single("chaos_dumps", .gauge, "Guests that stand still for a dump.", dumps.inUse)
    let load = pool.load
    text.single("chaos_blocking_threads", .gauge, "Threads for what blocks.", load.threads)
    text.single("chaos_blocking_busy", .gauge, "Of these, those that work.", load.busy)
    text.single("chaos_blocking_queue", .gauge, "Operations that wait for a thread.", load.queued)
    text.single("chaos_blocking_completed_total", .counter, "Operations done.", load.completed)
    text.single(
      "chaos_blocking_refused_total", .counter, "Operations refused because too many waited.", load.refused)
  }
}
