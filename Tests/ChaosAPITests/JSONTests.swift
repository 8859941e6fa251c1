import Testing

@testable import ChaosAPI

@Suite("JSON")
struct JSONTests {
  @Test(
    "values are read",
    arguments: [
      ("null", JSON.null), (" true ", true), ("false", false), ("0", 0), ("-0", 0), ("-12", -12),
      ("9223372036854775807", .integer(.max)), ("-9223372036854775808", .integer(.min)),
      ("9223372036854775808", .double(9_223_372_036_854_775_808)), ("8.0", .double(8)),
      ("1e3", .double(1000)), ("-2.5E-1", .double(-0.25)), (#""""#, ""), ("[]", []), ("{}", [:]),
      ("[1 , [ ] ,{}]", [1, [], [:]]),
      ("\t{\"a\" : {\"b\":[null]}\r\n}\n", ["a": ["b": [.null]]]),
      (#""a\"\\\/\b\f\n\r\tz""#, "a\"\\/\u{8}\u{c}\n\r\tz"),
      (#""\u0041\u00e9\u20AC\ud83d\ude00""#, "Aé€😀"), ("\"é€😀\"", "é€😀"),
      (#""\u0000""#, "\0"), ("\"\u{7f}\"", "\u{7f}"),
    ] as [(String, JSON)])
  func reads(text: String, value: JSON) throws {
    #expect(try JSON(parsing: text) == value)
  }

  @Test(
    "what is not JSON is refused where it goes wrong",
    arguments: [
      ("01", JSONError.Problem.trailingByte(0x31), 1), ("+1", .unexpectedByte(0x2b), 0),
      (".5", .unexpectedByte(0x2e), 0), ("1.x", .unexpectedByte(0x78), 2),
      ("1e400", .numberOutOfRange, 0), ("[1,]", .unexpectedByte(0x5d), 3),
      ("[1 2]", .unexpectedByte(0x32), 3), ("{\"a\":1,}", .unexpectedByte(0x7d), 7),
      ("{a:1}", .unexpectedByte(0x61), 1), ("{\"a\" 1}", .unexpectedByte(0x31), 5),
      ("nul!", .unexpectedByte(0x21), 3), ("NaN", .unexpectedByte(0x4e), 0),
      ("{} {}", .trailingByte(0x7b), 3), ("[}", .unexpectedByte(0x7d), 1),
      ("\"\\x\"", .invalidEscape, 1), ("\"\\u00g0\"", .invalidEscape, 5),
      ("\"a\nb\"", .controlCharacterInString, 2), ("\"\\n\u{1}\"", .controlCharacterInString, 3),
      ("\"\\ud800\"", .unpairedSurrogate, 1), ("\"\\ud800\\n\"", .unpairedSurrogate, 1),
      ("\"\\udc00\"", .unpairedSurrogate, 1), ("\"\\ud800\\ud800\"", .unpairedSurrogate, 1),
      ("{\"a\":1,\"b\":2,\"a\":3}", .duplicateKey("a"), 13),
      ("{\"a\":1,\"\\u0061\":3}", .duplicateKey("a"), 7),
      ("'a'", .unexpectedByte(0x27), 0), ("// x", .unexpectedByte(0x2f), 0),
      ("\u{feff}1", .unexpectedByte(0xef), 0),
    ] as [(String, JSONError.Problem, Int)])
  func refuses(text: String, problem: JSONError.Problem, offset: Int) {
    #expect(throws: JSONError(problem: problem, offset: offset)) { try JSON(parsing: text) }
  }

  @Test(
    "bytes that are not UTF-8 are refused",
    arguments: [
      [0x80], [0xc0, 0xaf], [0xc1, 0xbf], [0xe0, 0x9f, 0xbf], [0xed, 0xa0, 0x80],
      [0xf0, 0x8f, 0xbf, 0xbf],
      [0xf4, 0x90, 0x80, 0x80], [0xf5, 0x80, 0x80, 0x80], [0xff], [0xe2, 0x82, 0x20], [0xc3, 0xc3],
    ] as [[UInt8]])
  func refusesInvalidUTF8(bytes: [UInt8]) {
    for prefix in [[], Array("a\\n".utf8)] {
      let text = [0x22] + prefix + bytes + [0x22]
      let error = #expect(throws: JSONError.self) { try JSON(parsing: text) }
      #expect(error?.problem == .invalidUTF8)
    }
  }

  @Test("a text cut off anywhere says so, with its length")
  func truncation() throws {
    let text = #" {"a":[true,false,null,-1.5e+3],"é\u00e9\ud83d\ude00":{"b":"\n"}}"#
    let bytes = Array(text.utf8)
    _ = try JSON(parsing: bytes)
    for length in bytes.indices {
      #expect(throws: JSONError(problem: .truncated, offset: length)) {
        try JSON(parsing: Array(bytes[..<length]))
      }
    }
  }

  @Test("every byte changed gives a value or an error")
  func totality() {
    let bytes = Array(#"{"a":[1,-2.5,"\ud83d\ude00é"],"b":{"c":null}}"#.utf8)
    for position in bytes.indices {
      for byte in UInt8.min...UInt8.max {
        var changed = bytes
        changed[position] = byte
        _ = try? JSON(parsing: changed)
      }
    }
  }

  @Test("nesting is taken to the limit and refused beyond it")
  func depth() throws {
    func nested(_ depth: Int) -> String {
      String(repeating: "[", count: depth) + String(repeating: "]", count: depth)
    }
    _ = try JSON(parsing: nested(JSON.depthLimit))
    #expect(throws: JSONError(problem: .tooDeep, offset: JSON.depthLimit)) {
      try JSON(parsing: nested(JSON.depthLimit + 1))
    }
    #expect(throws: JSONError(problem: .tooDeep, offset: JSON.depthLimit)) {
      try JSON(parsing: String(repeating: "[", count: 1_000_000))
    }
    // Siblings are no depth.
    _ = try JSON(parsing: "[" + String(repeating: "[[]],", count: 1000) + "[]]")
  }

  @Test("duplicates are found in objects of any size", arguments: [2, 16, 17, 18, 40, 5000])
  func duplicatesInLargeObjects(count: Int) throws {
    let members = (0..<count).map { "\"k\($0)\":\($0)" }
    guard case .object(let object) = try JSON(parsing: "{\(members.joined(separator: ","))}") else {
      Issue.record("not an object")
      return
    }
    #expect(object.members.count == count)
    for repeated in [0, count / 2, count - 1] {
      let text = "{\((members + ["\"k\(repeated)\":0"]).joined(separator: ","))}"
      let error = #expect(throws: JSONError.self) { try JSON(parsing: text) }
      #expect(error?.problem == .duplicateKey("k\(repeated)"))
    }
  }

  @Test(
    "what is written is read back the same",
    arguments: [
      [
        "a": [1, 2.5, "x\u{1}\u{7f}\n\"\\é😀/"], "b": [:], "c": [], "d": .null, "e": [["f": false]],
      ],
      [1e300, .double(.leastNonzeroMagnitude), 1e16, -0.0, .integer(.min)], "", .null,
    ] as [JSON])
  func roundTrip(value: JSON) throws {
    #expect(try JSON(parsing: value.compact) == value)
    #expect(try JSON(parsing: value.pretty) == value)
  }

  @Test func compactForm() {
    let value: JSON = ["b": [1, .double(2), "x\u{7f}"], "a": .null, "c": .double(.infinity)]
    #expect(value.description == #"{"b":[1,2.0,"x\u007f"],"a":null,"c":null}"#)
  }

  @Test func prettyForm() {
    let value: JSON = ["a": [1, ["b": true]], "c": [], "d": [:]]
    let expected = """
      {
        "a": [
          1,
          {
            "b": true
          }
        ],
        "c": [],
        "d": {}
      }

      """
    #expect(String(decoding: value.pretty, as: UTF8.self) == expected)
  }

  @Test("messages name the place and show no control characters")
  func messages() {
    let error = #expect(throws: JSONError.self) {
      try JSON(parsing: "{\"\\u001b[2J\":1,\"\\u001b[2J\":2}")
    }
    #expect(error?.description == #"invalid JSON: duplicate key '\x1b[2J' at byte 15"#)
    #expect(
      JSONError(problem: .truncated, offset: 3).description == "invalid JSON: truncated at byte 3")
  }

  @Test func objectMembers() {
    var object: JSONObject = ["a": 1, "b": 2]
    object["a"] = 3
    object["c"] = 4
    object["b"] = nil
    object["x"] = nil
    #expect(object.members.map(\.key) == ["a", "c"])
    #expect(object["a"] == 3)
    #expect(JSON.object(object)["c"] == 4)
    #expect(JSON.null["c"] == nil)
  }
}
