/// The daemon's API as calls. One connection, kept; every call blocks until its answer is there.
///
/// Every call throws what the daemon refused, as it said it, or what kept the client from asking
/// (`unavailable`, `forbidden`).
public struct ChaosClient: ~Copyable {
  public static let defaultSocketPath = "/run/chaos/chaosd.sock"
  /// The environment variable that names another socket.
  public static let socketVariable = "CHAOS_SOCKET"

  private var http: HTTPClient

  public init(socketPath: String = Self.defaultSocketPath) {
    http = HTTPClient(socketPath: socketPath)
  }

  // MARK: Host

  public mutating func version() throws(APIError) -> VersionInfo {
    try call(.get, "/v1/version")
  }

  public mutating func host() throws(APIError) -> HostInfo {
    try call(.get, "/v1/host")
  }

  public mutating func health() throws(APIError) -> Health {
    try call(.get, "/v1/health")
  }

  public mutating func statistics() throws(APIError) -> Statistics {
    try call(.get, "/v1/stats")
  }

  // MARK: Guests

  public mutating func guests() throws(APIError) -> [GuestInfo] {
    let list: GuestList = try call(.get, "/v1/guests")
    return list.guests
  }

  /// The guests, and those that have ended as far as they are remembered.
  public mutating func allGuests() throws(APIError) -> GuestList {
    try call(.get, "/v1/guests?all=true")
  }

  public mutating func guest(_ reference: String) throws(APIError) -> GuestInfo {
    try call(.get, path(reference))
  }

  /// Makes one guest; the request has no count.
  public mutating func create(_ request: CreateRequest) throws(APIError) -> CreateResult {
    try call(.post, "/v1/guests", .json(request.json.compact))
  }

  /// Makes `request.count` guests, each handed to `made` as soon as it is there. Where this throws what the
  /// daemon answered, the daemon has removed those it made.
  public mutating func create(
    _ request: CreateRequest, each made: (CreateResult) -> Void
  ) throws(APIError) {
    try begin(.post, "/v1/guests", .json(request.json.compact))
    try readLines { line throws(APIError) in
      switch try Self.decode(line) as CreateLine {
      case .made(let result): made(result)
      case .refused(let error): throw error
      }
    }
  }

  public mutating func pause(_ reference: String) throws(APIError) -> GuestInfo {
    try call(.post, path(reference, "/pause"))
  }

  public mutating func unpause(_ reference: String) throws(APIError) -> GuestInfo {
    try call(.post, path(reference, "/unpause"))
  }

  /// Asks the guest to shut down, and returns as soon as it has been asked.
  public mutating func shutdown(_ reference: String) throws(APIError) {
    try callWithoutAnswer(.post, path(reference, "/shutdown"))
  }

  /// Asks the guest to shut down and waits until it is gone.
  public mutating func shutdown(
    _ reference: String, timeoutSeconds: Int
  ) throws(APIError) {
    try callWithoutAnswer(
      .post, path(reference, "/shutdown?wait=true&timeout=\(timeoutSeconds)"))
  }

  /// Asks the guest to reboot, or with `force` makes it, and returns as soon as that is done.
  public mutating func reboot(_ reference: String, force: Bool = false) throws(APIError) {
    try callWithoutAnswer(.post, path(reference, force ? "/reboot?force=true" : "/reboot"))
  }

  /// Destroys the guest and makes it again, with the same name, UUID and addresses.
  public mutating func restart(_ reference: String) throws(APIError) -> GuestInfo {
    try call(.post, path(reference, "/restart"))
  }

  public mutating func rename(_ reference: String, to name: String) throws(APIError) -> GuestInfo {
    try call(.post, path(reference, "/rename"), .json(RenameRequest(name: name).json.compact))
  }

  public mutating func change(_ reference: String, _ change: GuestChange) throws(APIError) -> GuestInfo {
    try call(.patch, path(reference), .json(change.json.compact))
  }

  public mutating func destroy(_ reference: String) throws(APIError) {
    try callWithoutAnswer(.delete, path(reference))
  }

  /// Destroys every guest, and says how many there were.
  public mutating func destroyAll() throws(APIError) -> Int {
    let count: DestroyedCount = try call(.delete, "/v1/guests")
    return count.destroyed
  }

  /// Throws `timeout` when the guest has not said that it is ready in time.
  public mutating func waitUntilReady(
    _ reference: String, timeoutSeconds: Int
  ) throws(APIError) -> GuestInfo {
    try call(.get, path(reference, "/wait?for=ready&timeout=\(timeoutSeconds)"))
  }

  /// Throws `timeout` when the guest's domain has not ended in time.
  public mutating func waitUntilStopped(
    _ reference: String, timeoutSeconds: Int
  ) throws(APIError) -> GuestEnd {
    try waitForEnd(reference, .stopped, timeoutSeconds)
  }

  /// Throws `timeout` when there still is such a guest then.
  public mutating func waitUntilGone(
    _ reference: String, timeoutSeconds: Int
  ) throws(APIError) -> GuestEnd {
    try waitForEnd(reference, .gone, timeoutSeconds)
  }

  private mutating func waitForEnd(
    _ reference: String, _ goal: WaitGoal, _ timeoutSeconds: Int
  ) throws(APIError) -> GuestEnd {
    let result: EndResult = try call(
      .get, path(reference, "/wait?for=\(goal.rawValue)&timeout=\(timeoutSeconds)"))
    return result.ended
  }

  // MARK: Events

  /// Hands over events as the lines they come in, each an ``Event``: those of one guest, or of all. With `follow`
  /// it goes on until the daemon stops.
  public mutating func events(
    of reference: String? = nil, since start: EventStart? = nil, follow: Bool = false,
    eachLine take: ([UInt8]) throws(APIError) -> Void
  ) throws(APIError) {
    var query: [String] = []
    if let reference { query.append("ref=\(try component(reference, "guest"))") }
    if let start { query.append("since=\(percentEncoded(start.text))") }
    if follow { query.append("follow=true") }
    try begin(.get, "/v1/events" + (query.isEmpty ? "" : "?" + query.joined(separator: "&")))
    try readLines(take)
  }

  /// The last end of that guest which is remembered; nil when there is none.
  public mutating func lastEnd(of reference: String) throws(APIError) -> Event? {
    var last: Event?
    try events(of: reference) { line throws(APIError) in
      let event: Event = try Self.decode(line)
      if event.kind == .ended { last = event }
    }
    return last
  }

  // MARK: Vifs

  /// Adds an interface to a guest that is there.
  public mutating func addVif(_ guest: String, _ request: VifRequest) throws(APIError) -> VifInfo {
    try call(.post, path(guest, "/vifs"), .json(request.json.compact))
  }

  public mutating func removeVif(_ guest: String, _ index: Int) throws(APIError) {
    try callWithoutAnswer(.delete, path(guest, "/vifs/\(index)"))
  }

  /// Gives a vif that carries nothing any more new rings.
  public mutating func resetVif(_ guest: String, _ index: Int) throws(APIError) -> VifInfo {
    try call(.post, path(guest, "/vifs/\(index)/reset"))
  }

  // MARK: LANs

  public mutating func lans() throws(APIError) -> [LANSummary] {
    let list: LANList = try call(.get, "/v1/lans")
    return list.lans
  }

  public mutating func createLAN(_ request: LANRequest) throws(APIError) -> LANInfo {
    try call(.post, "/v1/lans", .json(request.json.compact))
  }

  public mutating func lan(_ name: String) throws(APIError) -> LANInfo {
    try call(.get, lanPath(name))
  }

  /// Throws `conflict` when the LAN has members and `force` is not given.
  public mutating func deleteLAN(_ name: String, force: Bool = false) throws(APIError) {
    try callWithoutAnswer(.delete, lanPath(name, force ? "?force=true" : ""))
  }

  public mutating func peers(_ lan: String) throws(APIError) -> [LANPeer] {
    let list: LANPeerList = try call(.get, lanPath(lan, "/peers"))
    return list.peers
  }

  /// Adds a peer, or MAC addresses to one that is there, and returns all peers.
  public mutating func addPeer(_ lan: String, _ peer: LANPeer) throws(APIError) -> [LANPeer] {
    let list: LANPeerList = try call(.post, lanPath(lan, "/peers"), .json(peer.json.compact))
    return list.peers
  }

  public mutating func removePeer(_ lan: String, _ address: String) throws(APIError) {
    try callWithoutAnswer(.delete, lanPath(lan, "/peers/\(try component(address, "address"))"))
  }

  /// Lets an interface of the host join a LAN.
  public mutating func attach(_ lan: String, _ interface: String) throws(APIError) -> LANInfo {
    let request = AttachRequest(interface: interface)
    return try call(.post, lanPath(lan, "/interfaces"), .json(request.json.compact))
  }

  public mutating func detach(_ lan: String, _ interface: String) throws(APIError) {
    try callWithoutAnswer(.delete, lanPath(lan, "/interfaces/\(try component(interface, "interface"))"))
  }

  // MARK: EVPN

  public mutating func evpnStatus() throws(APIError) -> EVPNStatus {
    try call(.get, "/v1/evpn")
  }

  /// Enables EVPN on this host, or changes how it takes part.
  public mutating func enableEVPN(_ request: EVPNRequest) throws(APIError) -> EVPNStatus {
    try call(.put, "/v1/evpn", .json(request.json.compact))
  }

  public mutating func disableEVPN() throws(APIError) {
    try callWithoutAnswer(.delete, "/v1/evpn")
  }

  // MARK: Console

  /// Begins to stream the console's log; take it with `readStream()`.
  public mutating func openLog(_ reference: String, follow: Bool) throws(APIError) {
    try begin(.get, path(reference, follow ? "/log?follow=true" : "/log"))
  }

  /// Begins to stream the console, the log's last part first; take it with `readStream()`.
  public mutating func openConsole(_ reference: String) throws(APIError) {
    try begin(.get, path(reference, "/console"))
  }

  /// Input for a guest's console. Needs a client of its own while another streams the output.
  public mutating func sendConsole(_ reference: String, _ input: [UInt8]) throws(APIError) {
    try callWithoutAnswer(.post, path(reference, "/console"), .bytes(input))
  }

  /// Begins to stream a dump of a guest, which stands still until all of it is read; take it with `readStream()`.
  /// Returns how many bytes there are.
  public mutating func openDump(_ reference: String, _ format: DumpFormat) throws(APIError) -> Int {
    try begin(.post, path(reference, "/dump?format=\(format.rawValue)"))
    guard let length = http.bodyRemaining else {
      throw APIError(.unavailable, "chaosd at \(http.socketPath): it does not say how long the dump is")
    }
    return length
  }

  /// Of a stream whose length is known, the bytes that were not received yet.
  public var streamRemaining: Int { http.bodyRemaining ?? 0 }

  /// The next bytes of a stream; nil at its end.
  public mutating func readStream() throws(APIError) -> [UInt8]? {
    try http.read()
  }

  /// The next bytes of a stream, without blocking once poll(2) has said that `streamDescriptor` can be read;
  /// possibly none. Nil at its end.
  public mutating func readStreamOnce() throws(APIError) -> [UInt8]? {
    try http.readOnce()
  }

  /// What has been received of a stream and not been read, without reading the socket; possibly none. Nil at its
  /// end.
  public mutating func readReceived() throws(APIError) -> [UInt8]? {
    try http.readReceived()
  }

  public var streamDescriptor: Int32 { http.fileDescriptor }

  // MARK: Pool

  public mutating func pool() throws(APIError) -> PoolStatus {
    try call(.get, "/v1/pool")
  }

  public mutating func setPool(_ request: PoolSetRequest) throws(APIError) -> PoolStatus {
    try call(.put, "/v1/pool/flavours", .json(request.json.compact))
  }

  /// Destroys every ready shell, and says how many there were. The pool stays empty until it is filled or set.
  public mutating func drainPool() throws(APIError) -> Int {
    let count: DestroyedCount = try call(.post, "/v1/pool/drain")
    return count.destroyed
  }

  /// With `wait`, returns when every flavour is at its high mark.
  public mutating func fillPool(wait: Bool) throws(APIError) -> PoolStatus {
    try call(.post, wait ? "/v1/pool/fill?wait=true" : "/v1/pool/fill")
  }

  // MARK: Images

  public mutating func images() throws(APIError) -> [ImageInfo] {
    let list: ImageList = try call(.get, "/v1/images")
    return list.images
  }

  /// Stores an image under a name, in place of an earlier one of that name.
  public mutating func addImage(
    _ name: String, _ content: HTTPClient.Body
  ) throws(APIError) -> ImageInfo {
    try call(.put, "/v1/images/\(try component(name, "name"))", content)
  }

  /// What is sent without a name: kept only while a guest or a flavour uses it.
  public enum UploadKind: Sendable {
    case kernel
    case ramdisk
  }

  public mutating func upload(
    _ kind: UploadKind, _ content: HTTPClient.Body
  ) throws(APIError) -> ImageInfo {
    try call(.post, kind == .ramdisk ? "/v1/images?kind=ramdisk" : "/v1/images", content)
  }

  public mutating func removeImage(_ name: String) throws(APIError) {
    try callWithoutAnswer(.delete, "/v1/images/\(try component(name, "name"))")
  }

  // MARK: Calls

  private func path(_ reference: String, _ rest: String = "") throws(APIError) -> String {
    "/v1/guests/\(try component(reference, "guest"))\(rest)"
  }

  private func lanPath(_ name: String, _ rest: String = "") throws(APIError) -> String {
    "/v1/lans/\(try component(name, "lan"))\(rest)"
  }

  /// A name as one component of a path. An empty one would leave the path of all there are.
  private func component(_ name: String, _ field: String) throws(APIError) -> String {
    guard !name.isEmpty else { throw APIError(.invalidArgument, "\(field): empty", field: field) }
    return percentEncoded(name)
  }

  /// Sends a request; throws what it was refused with, else leaves the body to be read.
  private mutating func begin(
    _ method: HTTPClient.Method, _ target: String, _ body: HTTPClient.Body = .none
  ) throws(APIError) {
    let head = try http.request(method, target, body)
    guard !(200..<300 ~= head.status) else { return }
    throw Self.error(status: head.status, body: try http.readBody(limit: 1 << 20))
  }

  /// In bytes: far more than a guest or an event takes.
  private static let longestLine = 1 << 20

  private static func error(status: Int, body: [UInt8]) -> APIError {
    if let json = try? JSON(parsing: body), let error = try? APIError(json: json) { return error }
    return APIError(
      APIError.Code(httpStatus: status), "chaosd answered with HTTP status \(status)")
  }

  /// The rest of the body, line by line; empty lines, which only show that the daemon is there, are left out.
  private mutating func readLines(_ take: ([UInt8]) throws(APIError) -> Void) throws(APIError) {
    var lines = LineBuffer()
    while let bytes = try http.read() {
      lines.append(bytes)
      while let line = lines.next() {
        if !line.isEmpty { try take(line) }
      }
      guard lines.count <= Self.longestLine else { throw Self.malformed("a line is too long") }
    }
    guard lines.isEmpty else { throw Self.malformed("the last line is cut off") }
  }

  private mutating func call<Answer: JSONConvertible>(
    _ method: HTTPClient.Method, _ target: String, _ body: HTTPClient.Body = .none
  ) throws(APIError) -> Answer {
    try begin(method, target, body)
    return try Self.decode(try http.readBody())
  }

  private mutating func callWithoutAnswer(
    _ method: HTTPClient.Method, _ target: String, _ body: HTTPClient.Body = .none
  ) throws(APIError) {
    try begin(method, target, body)
    _ = try http.readBody()
  }

  private static func decode<Answer: JSONConvertible>(_ bytes: [UInt8]) throws(APIError) -> Answer {
    do throws(APIError) {
      return try Answer(parsing: bytes)
    } catch {
      throw malformed(error.message)
    }
  }

  /// What is wrong with an answer is the daemon's fault, not the caller's argument.
  private static func malformed(_ problem: String) -> APIError {
    APIError(.unavailable, "chaosd gave a malformed answer: \(problem)")
  }
}

/// Cuts a stream into lines.
private struct LineBuffer {
  private var bytes: [UInt8] = []
  private var taken = 0

  /// Bytes of lines that are not taken.
  var count: Int { bytes.count - taken }
  var isEmpty: Bool { count == 0 }

  mutating func append(_ more: [UInt8]) {
    bytes.removeFirst(taken)
    taken = 0
    bytes += more
  }

  mutating func next() -> [UInt8]? {
    guard let newline = bytes[taken...].firstIndex(of: UInt8(ascii: "\n")) else { return nil }
    defer { taken = newline + 1 }
    return Array(bytes[taken..<newline])
  }
}

/// A name as one component of a path: what is not unreserved (RFC 3986, section 2.3) as %XX.
private func percentEncoded(_ text: String) -> String {
  if text.utf8.allSatisfy(isUnreserved) { return text }
  var encoded = ""
  for byte in text.utf8 {
    if isUnreserved(byte) {
      encoded.unicodeScalars.append(UnicodeScalar(byte))
    } else {
      encoded += "%" + hexadecimal(byte)
    }
  }
  return encoded
}

private func isUnreserved(_ byte: UInt8) -> Bool {
  isLetterOrDigit(byte) || byte == UInt8(ascii: "-") || byte == UInt8(ascii: ".")
    || byte == UInt8(ascii: "_") || byte == UInt8(ascii: "~")
}
