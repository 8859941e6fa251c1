import ChaosAPI

func create(_ invocation: Invocation) throws(APIError) -> ExitStatus {
  var request = try createRequest(invocation)
  let waits = try WaitLimit(invocation, request)
  if invocation.has("console"), request.count != nil {
    throw invocation.usage("--console cannot be used with --count")
  }
  var checked = request
  checked.image = ImageSource.checkable(request.image) ?? ""
  checked.ramdisk = ImageSource.checkable(request.ramdisk)
  try checked.validate()

  var client = invocation.client()
  request.image = try ImageSource(request.image).sent(.kernel, by: &client)
  if let ramdisk = request.ramdisk {
    request.ramdisk = try ImageSource(ramdisk).sent(.ramdisk, by: &client)
  }
  if request.count != nil {
    return try createSeveral(request, waits, invocation, &client)
  }
  return try createOne(request, waits, invocation, &client)
}

private func createOne(
  _ request: CreateRequest, _ waits: WaitLimit?, _ invocation: Invocation,
  _ client: inout ChaosClient
) throws(APIError) -> ExitStatus {
  var result = try client.create(request)
  // The name comes out before anything else can fail: the guest is there.
  if !invocation.wantsJSON { printOut(result.guest.name + "\n") }
  if let waits {
    do throws(APIError) {
      result.guest = try waits.ready(result.guest.uuid, &client)
    } catch {
      if invocation.wantsJSON { printJSON(result.json) }
      throw client.explain(error, of: result.guest, before: "it was ready")
    }
  }
  if invocation.wantsJSON { printJSON(result.json) }
  guard invocation.has("console") else { return .success }
  do throws(APIError) {
    return try attach(to: result.guest.uuid, shownAs: result.guest.name, socketPath: invocation.socketPath)
  } catch {
    guard error.code == .notFound else { throw error }
    throw client.explain(error, of: result.guest, before: "its console was attached")
  }
}

private func createSeveral(
  _ request: CreateRequest, _ waits: WaitLimit?, _ invocation: Invocation,
  _ client: inout ChaosClient
) throws(APIError) -> ExitStatus {
  exitOnInterrupt(
    """
    chaos: interrupted: chaosd finishes what it has accepted; 'chaos list' shows the guests, 'chaos destroy' \
    removes them\n
    """)
  var progress = Progress(total: request.count ?? 1)
  var guests: [GuestInfo] = []
  do throws(APIError) {
    try client.create(request) { result in
      progress.makeRoom()
      if invocation.wantsJSON {
        printLine(result.json)
      } else {
        printOut(result.guest.name + "\n")
      }
      progress.advance()
      if waits != nil { guests.append(result.guest) }
    }
  } catch {
    progress.clear()
    throw error
  }
  progress.clear()
  for guest in guests {
    do throws(APIError) {
      _ = try waits?.ready(guest.uuid, &client)
    } catch {
      throw client.explain(error, of: guest, before: "it was ready")
    }
  }
  return .success
}

/// How long `--wait` waits in all, however many guests there are.
private struct WaitLimit {
  private let deadline: Deadline

  /// Nil: nothing is to be waited for.
  init?(_ invocation: Invocation, _ request: CreateRequest) throws(APIError) {
    let seconds = try invocation.timeout(default: 30)
    guard invocation.has("wait") else {
      if invocation.has("timeout") { throw invocation.usage("--timeout needs --wait") }
      return nil
    }
    if request.paused { throw invocation.usage("--wait cannot be used with a paused guest") }
    deadline = Deadline(seconds: seconds)
  }

  func ready(
    _ reference: String, _ client: inout ChaosClient
  ) throws(APIError) -> GuestInfo {
    try client.waitUntilReady(reference, timeoutSeconds: deadline.secondsLeft)
  }
}

extension ChaosClient {
  /// Why a new guest is not what was waited for: that it has ended says more than that it is not there.
  fileprivate mutating func explain(_ error: APIError, of guest: GuestInfo, before goal: String) -> APIError {
    let mayHaveEnded = [.notFound, .wrongState, .timeout, .unsupported].contains(error.code)
    guard mayHaveEnded, let (reason, message) = ending(of: guest.uuid) else { return error.naming(guest.name) }
    return APIError(
      .wrongState,
      "guest '\(guest.name)' \(reason.deed) before \(goal)" + (message.map { ": \($0)" } ?? ""))
  }
}

// MARK: The request

/// The config with what options say laid over it.
func createRequest(_ invocation: Invocation) throws(APIError) -> CreateRequest {
  var request = CreateRequest(image: "")
  if let path = invocation.operands.first { request = try readConfig(path) }
  if let image = invocation.value("image") { request.image = image }
  if request.image.isEmpty {
    let place = invocation.operands.first.map { " in \($0)" } ?? ""
    throw invocation.usage("no image: give --image, or CONFIG with 'kernel'\(place)")
  }
  if let type = invocation.value("type") { request.type = type }
  if let ramdisk = invocation.value("ramdisk") { request.ramdisk = ramdisk }
  if let cmdline = invocation.value("cmdline") { request.cmdline = cmdline }
  if let memory = try invocation.mebibytes("memory") { request.memoryMiB = memory }
  if let vcpus = try invocation.integer("vcpus") { request.vcpus = vcpus }
  if let name = invocation.value("name") { request.name = name }
  if let uuid = invocation.value("uuid") { request.uuid = uuid }
  if let count = try invocation.integer("count") { request.count = count }
  if let window = try invocation.kibibytes("window") { request.windowKiB = window }
  try invocation.applyLifeCycle(to: &request)
  if invocation.has("paused") { request.paused = true }
  if invocation.has("no-pool") { request.pool = false }
  if invocation.has("vif") {
    request.vifs = try invocation.values("vif").map { text throws(APIError) in
      try vifRequest(text, givenAs: "option '--vif'", invocation)
    }
  }
  return request
}

private func readConfig(_ path: String) throws(APIError) -> CreateRequest {
  let file = path == "-" ? File(standardInputNamed: path) : try File.opened(path)
  let text: [UInt8]
  do throws(FileError) {
    text = try file.readAll(limit: 1 << 20)
  } catch {
    throw APIError(error)
  }
  do throws(APIError) {
    return try CreateRequest(parsing: text)
  } catch {
    throw APIError(error.code, "\(path): \(error.message)", field: error.field)
  }
}
