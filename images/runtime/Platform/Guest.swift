import CDevicePage
import CGuest

/// One running guest: its image, and the devices that its device page names.
struct Guest<Image: Unikernel>: ~Copyable {
  private var image: Image
  private var console = Console.shared
  private var power = PowerControl()
  private var network = Network(bufferSize: Image.bufferSize)
  private let startTime: UInt64
  private var name: Bytes

  init(image: Image) {
    self.image = image
    do throws(DevicePageReader.Failure) {
      let page = try DevicePageReader.read()
      name = page.name
      power.generationSeen = page.generation
      self.image.prepare(page.commandLine)
      // What others wait for comes first, the story of it after.
      if Image.usesNetwork {
        network.announces = self.image.announces
        try network.update(page)
      }
      power.announceReady()
      startTime = Clock.now
      try introduce(page)
    } catch {
      Self.refuse(error)
    }
  }

  /// Serves for ever. Sleeps in the hypervisor whenever there is nothing to do.
  consuming func run() -> Never {
    while true {
      var more = false
      if Image.usesNetwork {
        more = network.serve(&image)
      }
      if guest_take_event(UInt32(CHAOS_PORT_CONSOLE)) { readConsole() }
      if guest_take_event(UInt32(CHAOS_PORT_POWERCTL)) { obeyPowerControl() }
      let next = Image.originates ? act() : nil
      if !more {
        network.sleep(until: next)
      }
    }
  }

  private mutating func act() -> UInt64? {
    image.act(at: Clock.now, network: &network, console: &console)
  }

  private mutating func readConsole() {
    while let character = console.next() {
      let status = GuestStatus(
        name: name, uptimeNanoseconds: Clock.now &- startTime,
        packetsIn: network.packetsIn, packetsOut: network.packetsOut)
      image.typed(character, status: status, console: &console)
    }
    console.flush()
  }

  private mutating func obeyPowerControl() {
    let requests = power.requests
    if requests.contains(.powerOff) {
      power.acknowledge(requests)
      guest_power_off()
    }
    if requests.contains(.reboot) {
      power.acknowledge(requests)
      guest_reboot()
    }
    if power.generationChanged {
      readDevicePageAgain()
    }
    let vifs = power.takeVifsToReset()
    if Image.usesNetwork, vifs != 0 {
      network.reset(vifs)
    }
    power.acknowledge(requests)
  }

  /// Names, addresses and vifs may have changed. A page that cannot be read changes nothing.
  private mutating func readDevicePageAgain() {
    do throws(DevicePageReader.Failure) {
      let page = try DevicePageReader.read()
      name = page.name
      power.generationSeen = page.generation
      if Image.usesNetwork {
        try network.update(page)
      }
    } catch {
      console.write(Image.name)
      console.write(": the changed device page is unusable: ")
      error.describe(to: &console)
      console.write("\r\n")
      console.flush()
    }
  }

  private mutating func introduce(_ page: DevicePage) throws(DevicePageReader.Failure) {
    console.write(Image.name)
    console.write(": up ")
    console.write(page.name)
    for entry in 0..<page.deviceCount {
      guard let vif = try DevicePageReader.vif(page, entry: entry) else { continue }
      console.write(", vif ")
      console.writeDecimal(UInt64(vif.slot))
      console.write(" ")
      console.write(vif.addresses.mac)
      if let address = vif.addresses.ipv4 {
        console.write(" ")
        console.write(address)
        console.write("/")
        console.writeDecimal(UInt64(vif.ipv4Prefix))
      }
      if let address = vif.addresses.ipv6 {
        console.write(" ")
        console.write(address)
        console.write("/")
        console.writeDecimal(UInt64(vif.ipv6Prefix))
      }
    }
    console.write(", command line: ")
    console.write(page.commandLine)
    console.write("\r\n")
    console.flush()
  }

  /// Ends a guest that cannot read its device page. The fixed console may not exist then: ask Xen.
  private static func refuse(_ failure: DevicePageReader.Failure) -> Never {
    var console = Console.named
    console.write(Image.name)
    console.write(": cannot run: ")
    failure.describe(to: &console)
    console.write("\r\n")
    console.flush()
    guest_crash()
  }
}
