import NIOHTTP1
import Synchronization

/// Requests by route, method and status, and how long they took.
final class RequestMetrics: Sendable {
  private struct Route: Hashable {
    let method: String
    let path: String
  }

  private struct Measured {
    var statuses: [Int: Int] = [:]
    var time = Histogram()
  }

  private let routes = Mutex<[Route: Measured]>([:])

  func record(_ request: RequestHead, status: Int, nanoseconds: Int64) {
    let route = Route(method: Self.label(request.method), path: RouteTemplate.of(request.path))
    routes.withLock { routes in
      routes[route, default: Measured()].statuses[status, default: 0] += 1
      routes[route, default: Measured()].time.record(nanoseconds: nanoseconds)
    }
  }

  func write(to text: inout MetricsText) {
    let sorted = routes.withLock { $0 }.sorted { ($0.key.path, $0.key.method) < ($1.key.path, $1.key.method) }
    text.family("chaos_requests_total", .counter, "Requests answered, by route, method and HTTP status.")
    for (route, measured) in sorted {
      for (status, count) in measured.statuses.sorted(by: { $0.key < $1.key }) {
        text.sample("chaos_requests_total", Self.labels(route) + [("code", String(status))], count)
      }
    }
    text.family(
      "chaos_request_duration_seconds", .histogram,
      "From a request's head to its answer; for uploads, waits and consoles with all of these.")
    for (route, measured) in sorted {
      text.histogram("chaos_request_duration_seconds", Self.labels(route), measured.time)
    }
  }

  private static func labels(_ route: Route) -> [(String, String)] {
    [("route", route.path), ("method", route.method)]
  }

  /// A client that makes methods up makes no labels.
  private static func label(_ method: HTTPMethod) -> String {
    switch method {
    case .GET, .POST, .PUT, .DELETE: method.rawValue
    default: "other"
    }
  }
}

/// A path without the names in it, so that there are no more routes to count than the API has.
enum RouteTemplate {
  private static let names = ["guests": "{ref}", "lans": "{name}", "images": "{name}"]
  private static let words: Set<String> = [
    "version", "host", "counters", "metrics", "health", "stats", "events", "guests", "lans", "images", "pool",
    "evpn", "pause", "unpause", "shutdown", "reboot", "restart", "rename", "wait", "log", "console", "dump",
    "vifs", "reset", "peers", "interfaces", "flavours", "drain", "fill",
  ]

  static func of(_ path: [String]) -> String {
    guard path.first == "v1", (2...6).contains(path.count) else { return "other" }
    var template = "/v1"
    for (index, part) in path.enumerated().dropFirst() {
      switch (index, names[path[1]]) {
      case (2, let name?): template += "/\(name)"
      case (4, _): template += "/{element}"
      default:
        guard words.contains(part) else { return "other" }
        template += "/\(part)"
      }
    }
    return template
  }
}
