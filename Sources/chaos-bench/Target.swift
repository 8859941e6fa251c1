import ChaosAPI

/// What a row is held against: a peer of the same run, or a fixed bound.
struct Target {
  enum Bound {
    /// The row over its peer, or the row itself, is to be this or less.
    case atMost(Double)
    /// The row is to be so many times faster than its peer.
    case faster(Double)
    /// The ratio is shown; nothing is promised.
    case shown
  }

  let row: String
  /// Nil: the bound is for the figure itself.
  let peer: String?
  let bound: Bound

  init(_ row: String, _ peer: String?, _ bound: Bound) {
    self.row = row
    self.peer = peer
    self.bound = bound
  }

  static let all = [
    Target("chaos-version", "static-true", .atMost(2)),
    Target("create-hot", "chaos-ask", .shown),
    Target("create-hot", "true", .atMost(0.75)),
    Target("create-hot", "static-true", .atMost(3)),
    Target("create-hot", "xl-create-stock", .faster(50)),
    Target("create-hot", "xl-create-script", .faster(12)),
    Target("create-blank", "create-hot", .shown),
    Target("create-no-pool", "create-hot", .shown),
    Target("api-create-added", "api-empty", .atMost(2)),
    Target("api-create-paused", "api-create-hot", .shown),
    Target("api-create-blank", "api-create-hot", .shown),
    Target("api-create-no-pool", "api-create-hot", .shown),
    Target("destroy-cli", "xl-destroy-script", .faster(30)),
    Target("create-hypercalls", nil, .atMost(3)),
    Target("create-netlink", nil, .atMost(2)),
    Target("burst-64", "burst-64-no-pool", .atMost(1)),
    Target("create-beside", "create-alone", .atMost(1.1)),
    Target("destroy-beside", "destroy-alone", .atMost(1.1)),
    Target("create-no-pool-beside", "create-no-pool-alone", .atMost(1.1)),
    Target("recover-backend", nil, .atMost(10_000)),
    Target("recover-daemon", nil, .atMost(3000)),
    Target("lan-create-rate", "ip-batch-create-rate", .faster(1)),
    Target("lan-delete-rate", "ip-batch-delete-rate", .faster(1)),
    Target("lan-cycle-rate", "ip-batch-cycle-rate", .faster(1)),
    Target("sustained-1", "xl-sustained-stock", .faster(50)),
    Target("sustained-1", "xl-sustained-script", .shown),
    Target("sustained-8", "sustained-1", .faster(1)),
    Target("cpu-sustained-1", "xl-cpu-stock", .shown),
    Target("cpu-sustained-1", "xl-cpu-script", .shown),
    Target("memory-floor", nil, .atMost(3)),
  ]
}

/// A target and how the run stands to it.
struct Comparison {
  let target: Target
  /// What the bound is compared with.
  let value: Double

  init(_ target: Target, _ own: Row, _ peer: Row?) {
    self.target = target
    let mine = own.figure?.sample.median ?? .nan
    guard let theirs = peer?.figure?.sample.median else {
      value = mine
      return
    }
    if case .faster = target.bound, !own.heading.unit.isRate {
      value = theirs / mine
    } else {
      value = mine / theirs
    }
  }

  /// Nil: nothing is promised.
  var isMet: Bool? {
    switch target.bound {
    case .atMost(let bound): value <= bound
    case .faster(let bound): value >= bound
    case .shown: nil
    }
  }

  var cells: [String] {
    let times = target.peer == nil ? "" : "x"
    let wanted =
      switch target.bound {
      case .atMost(let bound): "\(decimal(bound))\(times) or less"
      case .faster(1): "no slower"
      case .faster(let bound): "\(decimal(bound))x faster"
      case .shown: ""
      }
    return [
      target.row, target.peer ?? "", decimal(value) + times, wanted, isMet.map { $0 ? "yes" : "NO" } ?? "",
    ]
  }

  var json: JSON {
    var object: JSONObject = ["ratio": .double(value)]
    if let peer = target.peer { object["peer"] = .string(peer) }
    switch target.bound {
    case .atMost(let bound): object["atMost"] = .double(bound)
    case .faster(let bound): object["timesFaster"] = .double(bound)
    case .shown: break
    }
    if let isMet { object["met"] = .bool(isMet) }
    return .object(object)
  }
}
