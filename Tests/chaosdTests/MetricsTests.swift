import Foundation
import Testing

@testable import chaosd

@Suite struct MetricsTests {
  @Test func textIsPrometheus() {
    var text = MetricsText()
    text.family("chaos_guests", .gauge, "Guests, by\nstate \\ name.")
    text.sample("chaos_guests", [("state", "a\"b\\c\nd"), ("other", "é")], 3)
    text.single("chaos_connections", .gauge, "Connections.", 7)
    #expect(
      text.text == #"""
        # HELP chaos_guests Guests, by\nstate \\ name.
        # TYPE chaos_guests gauge
        chaos_guests{state="a\"b\\c\nd",other="é"} 3
        # HELP chaos_connections Connections.
        # TYPE chaos_connections gauge
        chaos_connections 7

        """#)
  }

  @Test func bucketsAreCumulative() {
    var histogram = Histogram()
    histogram.record(nanoseconds: 100_000)
    histogram.record(nanoseconds: 100_001)
    histogram.record(nanoseconds: 2_000_000)
    histogram.record(nanoseconds: 3_600_000_000_000)
    var text = MetricsText()
    text.histogram("t", [("r", "x")], histogram)
    let lines = text.text.split(separator: "\n").map(String.init)
    #expect(lines[0] == #"t_bucket{r="x",le="0.0001"} 1"#)
    #expect(lines[1] == #"t_bucket{r="x",le="0.00025"} 2"#)
    #expect(lines[4] == #"t_bucket{r="x",le="0.0025"} 3"#)
    #expect(lines[11] == #"t_bucket{r="x",le="60"} 3"#)
    #expect(lines[12] == #"t_bucket{r="x",le="+Inf"} 4"#)
    #expect(lines[13].hasPrefix(#"t_sum{r="x"} 3600.002"#))
    #expect(lines[14] == #"t_count{r="x"} 4"#)
  }

  @Test(arguments: [
    ("/v1/guests", "/v1/guests"), ("/v1/guests/web", "/v1/guests/{ref}"),
    ("/v1/guests/pause/pause", "/v1/guests/{ref}/pause"),
    ("/v1/guests/a/vifs/3", "/v1/guests/{ref}/vifs/{element}"),
    ("/v1/lans/a/peers/10.0.0.1", "/v1/lans/{name}/peers/{element}"), ("/v1/pool/fill", "/v1/pool/fill"),
    ("/v1/images/a", "/v1/images/{name}"), ("/v1/pool/anything", "other"), ("/v1/nowhere", "other"), ("/", "other"),
    ("/v1", "other"), ("/v1/guests/a/b", "other"), ("/v1/guests/a/vifs/1/2", "other"),
  ])
  func pathsHaveFewTemplates(path: String, template: String) {
    let parts = path.split(separator: "/", omittingEmptySubsequences: false).dropFirst().map(String.init)
    #expect(RouteTemplate.of(parts) == template)
  }

  @Test("every path of the document is told apart")
  func documentedPaths() throws {
    let document = try String(
      contentsOf: URL(fileURLWithPath: #filePath).deletingLastPathComponent().appendingPathComponent(
        "../../docs/api/openapi.yaml"), encoding: .utf8)
    let paths = document.split(separator: "\n").filter { $0.hasPrefix("  /v1/") }.map { $0.dropFirst(2).dropLast() }
    #expect(paths.count > 30)
    for path in paths {
      let names = path.split(separator: "/").map { $0.hasPrefix("{") ? "a" : String($0) }
      let template = ["{index}", "{address}", "{interface}"].reduce(String(path)) { template, element in
        template.replacingOccurrences(of: element, with: "{element}")
      }
      #expect(RouteTemplate.of(names) == template)
    }
  }

  @Test func requestsAreCounted() async throws {
    try await TestServer.with { server in
      let client = try TestClient(server.path)
      client.say(request("GET", "/now"))
      _ = await client.hear(until: "\r\n\r\n")
      client.say(request("GET", "/nowhere"))
      _ = await client.hear(until: "}}")
      var text = MetricsText()
      #expect(
        try await eventually {
          text = MetricsText()
          server.edge.writeMetrics(to: &text)
          return text.text.contains("code=\"404\"")
        })
      #expect(text.text.contains("chaos_requests_total{route=\"other\",method=\"GET\",code=\"200\"} 1\n"))
      #expect(text.text.contains("chaos_requests_total{route=\"other\",method=\"GET\",code=\"404\"} 1\n"))
      #expect(text.text.contains("chaos_request_duration_seconds_count{route=\"other\",method=\"GET\"} 2\n"))
      #expect(text.text.contains("chaos_connections 1\n"))
    }
  }
}
