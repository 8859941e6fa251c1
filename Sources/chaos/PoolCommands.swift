import ChaosAPI

func poolStatus(_ invocation: Invocation) throws(APIError) -> ExitStatus {
  var client = invocation.client()
  show(try client.pool(), invocation)
  return .success
}

func poolSet(_ invocation: Invocation) throws(APIError) -> ExitStatus {
  guard let low = try invocation.integer("low"), let high = try invocation.integer("high") else {
    throw invocation.usage("missing \(invocation.has("low") ? "--high" : "--low")")
  }
  var request = PoolSetRequest(
    image: invocation.value("image"), ramdisk: invocation.value("ramdisk"), low: low, high: high)
  if let memory = try invocation.mebibytes("memory") { request.memoryMiB = memory }
  if let vcpus = try invocation.integer("vcpus") { request.vcpus = vcpus }
  if let vifs = try invocation.integer("vifs") { request.vifs = vifs }
  request.windowKiB = try invocation.kibibytes("window")
  request.budgetMiB = try invocation.mebibytes("budget")

  var checked = request
  checked.image = ImageSource.checkable(request.image)
  checked.ramdisk = ImageSource.checkable(request.ramdisk)
  try checked.validate()

  var client = invocation.client()
  if let image = request.image { request.image = try ImageSource(image).sent(.kernel, by: &client) }
  if let ramdisk = request.ramdisk {
    request.ramdisk = try ImageSource(ramdisk).sent(.ramdisk, by: &client)
  }
  show(try client.setPool(request), invocation)
  return .success
}

func poolDrain(_ invocation: Invocation) throws(APIError) -> ExitStatus {
  var client = invocation.client()
  let count = try client.drainPool()
  if invocation.wantsJSON {
    printJSON(DestroyedCount(destroyed: count).json)
  } else {
    printOut("\(count) shells destroyed\n")
  }
  return .success
}

func poolFill(_ invocation: Invocation) throws(APIError) -> ExitStatus {
  var client = invocation.client()
  show(try client.fillPool(wait: invocation.has("wait")), invocation)
  return .success
}

private func show(_ pool: PoolStatus, _ invocation: Invocation) {
  if invocation.wantsJSON {
    printJSON(pool.json)
  } else {
    printOut(poolText(pool))
  }
}

func poolText(_ pool: PoolStatus) -> String {
  var table = Table([
    ("FLAVOUR", .left), ("IMAGE", .left), ("MEMORY", .right), ("VCPUS", .right), ("VIFS", .right),
    ("WINDOW", .right), ("READY", .right), ("LOW", .right), ("HIGH", .right), ("HITS", .right),
  ])
  for flavour in pool.flavours {
    table.add([
      flavour.id, flavour.image.map { $0.name ?? shortDigest($0.digest) } ?? "(blank)",
      "\(flavour.memoryMiB) MiB", "\(flavour.vcpus)", "\(flavour.vifs)",
      "\(flavour.windowKiB) KiB", "\(flavour.ready)", "\(flavour.low)", "\(flavour.high)",
      "\(flavour.hits)",
    ])
  }
  var sheet = FactSheet()
  sheet.add("Memory", "\(pool.usedMiB) of \(pool.budgetMiB) MiB")
  sheet.add("Creates", "\(pool.hits.hot) hot, \(pool.hits.blank) blank, \(pool.hits.none) without")
  if pool.draining { sheet.add("Drained", "until 'chaos pool fill' or 'chaos pool set'") }
  return (pool.flavours.isEmpty ? "" : table.text + "\n") + sheet.text
}

/// Enough of a digest for people to tell images apart.
func shortDigest(_ digest: String) -> String {
  String(digest.drop { $0 != ":" }.dropFirst().prefix(12))
}
