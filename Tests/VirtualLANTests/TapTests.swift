import Glibc
import Testing
import VirtualLAN

/// Against the real kernel, each test in a network namespace of its own.
@Suite struct TapTests {
  @Test func aTapOutlivesItsDescriptor() async throws {
    try await NetworkNamespace.run {
      var socket = try RouteSocket()
      _ = try Tap.create(name: name("vif1.0"))
      let link = try #require(try socket.link(named: name("vif1.0")))
      #expect(link.kind == .tun && !link.isUp && link.mtu == 1500)
      try socket.perform(.deleteLink(.name(name("vif1.0"))))
      #expect(try socket.link(named: name("vif1.0")) == nil)
    }
  }

  @Test func aTakenNameIsRefused() async throws {
    try await NetworkNamespace.run {
      _ = try Tap.create(name: name("vif1.0"))
      let error = try #require(throws: NetlinkError.self) {
        _ = try Tap.create(name: name("vif1.0"))
      }
      #expect(error.code == EBUSY)
      #expect(error.description == "create tap 'vif1.0': TUNSETIFF: Device or resource busy")
    }
  }

  @Test func aRestartedDaemonOpensItsTapAgain() async throws {
    try await NetworkNamespace.run {
      var socket = try RouteSocket()
      let first = try Tap.create(name: name("vif1.0"))
      let index = try #require(try socket.link(named: first.name)).index
      // While it is held, it is held.
      let busy = try #require(throws: NetlinkError.self) { _ = try Tap.open(name: name("vif1.0")) }
      #expect(busy.code == EBUSY)
      close(first.takeDescriptor())
      let second = try Tap.open(name: name("vif1.0"))
      #expect(try socket.link(named: second.name)?.index == index)
    }
  }

  @Test func openingMakesNoTap() async throws {
    try await NetworkNamespace.run {
      var socket = try RouteSocket()
      let error = try #require(throws: NetlinkError.self) { _ = try Tap.open(name: name("vif9.0")) }
      #expect(error == .noSuchInterface(operation: "open tap", name: name("vif9.0")))
      #expect(error.description == "open tap 'vif9.0': No such device")
      #expect(try socket.links().count == 1)
      try socket.perform(.createBridge(name("br0")))
      #expect(throws: NetlinkError.self) { _ = try Tap.open(name: name("br0")) }
    }
  }

  @Test func aTapThatIsHandedOverStaysOpen() async throws {
    try await NetworkNamespace.run {
      var socket = try RouteSocket()
      let descriptor = try Tap.create(name: name("vif1.0")).takeDescriptor()
      try socket.perform(.changeLink(.name(name("vif1.0")), LinkChange(isUp: true)))
      #expect(try #require(try socket.link(named: name("vif1.0"))).flags.contains(.running))
      #expect(fcntl(descriptor, F_GETFD) == FD_CLOEXEC)
      close(descriptor)
      // A program that another test starts just now has a copy of the descriptor until it runs.
      let end = ContinuousClock.now + .seconds(10)
      while .now < end, try #require(try socket.link(named: name("vif1.0"))).flags.contains(.running) {
        usleep(1000)
      }
      #expect(try !#require(try socket.link(named: name("vif1.0"))).flags.contains(.running))
    }
  }

  /// A frame that the kernel sends through the tap has 12 bytes before it.
  @Test func framesComeBehindTheirHeader() async throws {
    try await NetworkNamespace.run {
      var socket = try RouteSocket()
      let descriptor = try Tap.create(name: name("vif1.0")).takeDescriptor()
      defer { close(descriptor) }
      // Going up, the kernel announces itself by IPv6, which makes a frame to read.
      try socket.perform(.changeLink(.name(name("vif1.0")), LinkChange(isUp: true)))
      var waiting = pollfd(fd: descriptor, events: Int16(POLLIN), revents: 0)
      #expect(poll(&waiting, 1, 30_000) == 1)
      var frame = [UInt8](repeating: 0, count: 2048)
      let size = read(descriptor, &frame, frame.count)
      #expect(size >= 12 + 14 + 40)
      #expect(frame[..<10].allSatisfy { $0 == 0 }, "nothing offloaded")
      #expect(frame[12..<14] == [0x33, 0x33], "an IPv6 multicast destination")
      #expect(frame[24..<26] == [0x86, 0xdd], "the EtherType of IPv6")
    }
  }
}
