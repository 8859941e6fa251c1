import ChaosAPI

@testable import ShellPool

extension Target {
  /// What is parsed can be written and parsed again, in both ways of writing.
  static let json = Target(name: "json") { bytes in
    guard let value = try? JSON(parsing: bytes.bytes) else { return }
    expect((try? JSON(parsing: value.compact)) == value, "\(value) does not come back")
    expect((try? JSON(parsing: value.pretty)) == value, "\(value) does not come back from several lines")
  }

  /// A create request that is taken can be written and read again, and stands for requests that are taken too.
  static let config = Target(name: "config") { bytes in
    guard let request = try? CreateRequest(parsing: Array(bytes)) else { return }
    expect((try? CreateRequest(json: request.json)) == request, "\(request) does not come back")
    do throws(APIError) {
      try request.validate()
    } catch {
      expect(!error.message.contains("\n"), "more than one line: \(error.message)")
      return
    }
    guard request.count ?? 1 <= 40 else { return }
    let guests = request.expanded()
    expect(guests.count == request.count ?? 1, "\(request) stands for \(guests.count) guests")
    for guest in guests {
      do throws(APIError) {
        try guest.validate()
      } catch {
        fatalError("\(guest): \(error.message)")
      }
    }
    expect(Set(guests.compactMap(\.name)).count == (request.name == nil ? 0 : guests.count), "names repeat")
  }

  /// A record that is taken comes back, and nothing computed from it traps.
  static let record = Target(name: "record") { bytes in
    guard let json = try? JSON(parsing: bytes.bytes), let record = try? DomainRecord(json: json) else { return }
    expect((try? DomainRecord(json: record.json)) == record, "\(record) does not come back")
    expect(record.flavour.hostPages > record.flavour.pages, "\(record.flavour)")
    expect(record.flavour.memoryPlan.map { !$0.ram.isEmpty } ?? true, "\(record.flavour)")
  }

  /// The first byte says where the rest is cut in two: an answer reads the same however it arrives.
  static let http = Target(name: "http") { bytes in
    guard let cut = bytes.first else { return }
    let answer = UnsafeRawBufferPointer(rebasing: bytes[1...])
    let first = answer.count * Int(cut) / 255
    let whole = HTTPReading([answer])
    let parts = HTTPReading([
      UnsafeRawBufferPointer(rebasing: answer[..<first]), UnsafeRawBufferPointer(rebasing: answer[first...]),
    ])
    expect(whole == parts, "\(whole)\nwhole, and cut at \(first):\n\(parts)")
  }
}

/// All that a parser made of an answer that came in pieces, the body in one.
private struct HTTPReading: Equatable {
  private(set) var events: [HTTPResponseParser.Event] = []
  private(set) var error: HTTPError?

  init(_ pieces: [UnsafeRawBufferPointer]) {
    var parser = HTTPResponseParser()
    do throws(HTTPError) {
      for piece in pieces {
        parser.receive(piece)
        try read(&parser)
      }
      try parser.receiveEnd()
      try read(&parser)
    } catch {
      self.error = error
    }
  }

  private mutating func read(_ parser: inout HTTPResponseParser) throws(HTTPError) {
    while let event = try parser.next() {
      if case .body(let bytes) = event, case .body(let before)? = events.last {
        events[events.count - 1] = .body(before + bytes)
      } else {
        events.append(event)
      }
    }
  }
}
