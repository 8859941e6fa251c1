import Foundation
import Glibc
import NetworkAddresses
import Synchronization
import Testing

@testable import VirtualLAN

/// Against the real kernel, each test in a network namespace of its own.
@Suite struct RouteSocketTests {
  @Test func aNamespaceHasItsLoopback() async throws {
    try await NetworkNamespace.run {
      var socket = try RouteSocket()
      let links = try socket.links()
      let loopback = try #require(links.first { $0.name == name("lo") })
      #expect(loopback.index.rawValue == 1)
      #expect(loopback.mtu == 65536)
      #expect(loopback.kind == nil && loopback.master == nil && !loopback.isUp)
      #expect(loopback.address == .zero)
      #expect(try socket.link(named: name("lo")) == loopback)
      #expect(try socket.link(index: loopback.index) == loopback)
    }
  }

  @Test func whatDoesNotExistIsNil() async throws {
    try await NetworkNamespace.run {
      var socket = try RouteSocket()
      #expect(try socket.link(named: name("vif9.0")) == nil)
      #expect(try socket.link(index: #require(InterfaceIndex(rawValue: 4711))) == nil)
    }
  }

  @Test func aBridgeComesAndGoes() async throws {
    try await NetworkNamespace.run {
      var socket = try RouteSocket()
      try socket.perform(.createBridge(name("br0")))
      let bridge = try #require(try socket.link(named: name("br0")))
      #expect(bridge.isBridge && !bridge.isUp)
      #expect(try #require(bridge.address).isUnicast)
      #expect(try namespaceFile("dev").contains("br0:"))
      try socket.perform(.deleteLink(.name(name("br0"))))
      #expect(try socket.link(index: bridge.index) == nil)
      #expect(try !namespaceFile("dev").contains("br0:"))
    }
  }

  @Test func oneMessagePutsATapIntoItsBridge() async throws {
    try await NetworkNamespace.run {
      var socket = try RouteSocket()
      let tap = try Tap.create(name: name("vif1.0"))
      try socket.perform(.createBridge(name("br0")))
      let bridge = try #require(try socket.link(named: name("br0"))).index
      let before = socket.messagesSent
      try socket.perform(
        .changeLink(.name(tap.name), LinkChange(master: .port(of: bridge), isUp: true, mtu: 1450)))
      #expect(socket.messagesSent == before + 1)

      let link = try #require(try socket.link(named: tap.name))
      #expect(link.master == bridge)
      #expect(link.mtu == 1450)
      #expect(link.isUp && link.flags.contains(.running))

      try socket.perform(
        .changeLink(.index(link.index), LinkChange(master: LinkChange.Master.none)))
      let left = try #require(try socket.link(index: link.index))
      #expect(left.master == nil && left.isUp && left.mtu == 1450)
      try socket.perform(.changeLink(.index(link.index), LinkChange(isUp: false)))
      #expect(try socket.link(index: link.index)?.isUp == false)
    }
  }

  @Test func withoutAddressGenerationAPortHasNoIPv6Address() async throws {
    try await NetworkNamespace.run {
      var socket = try RouteSocket()
      let silent = try Tap.create(name: name("silent"))
      let talking = try Tap.create(name: name("talking"))
      try socket.perform([
        .changeLink(
          .name(silent.name), LinkChange(addressGeneration: LinkChange.AddressGeneration.none)),
        .changeLink(.name(silent.name), LinkChange(isUp: true)),
        .changeLink(.name(talking.name), LinkChange(isUp: true)),
      ])
      let addresses = try namespaceFile("if_inet6")
      #expect(!addresses.contains("silent"))
      // Or the above would say nothing.
      #expect(addresses.contains("talking"))
    }
  }

  @Test func aLinkGetsAnotherName() async throws {
    try await NetworkNamespace.run {
      var socket = try RouteSocket()
      _ = try Tap.create(name: name("blank7"))
      let index = try #require(try socket.link(named: name("blank7"))).index
      try socket.perform(.renameLink(index, to: name("vif7.0"), LinkChange(mtu: 1400)))
      let renamed = try #require(try socket.link(index: index))
      #expect(renamed.name == name("vif7.0") && renamed.mtu == 1400)
    }
  }

  @Test func anAddressIsAdded() async throws {
    try await NetworkNamespace.run {
      var socket = try RouteSocket()
      try socket.perform(.createBridge(name("br0")))
      let bridge = try #require(try socket.link(named: name("br0"))).index
      let address = try #require(IPInterface("10.9.8.7/24"))
      try socket.perform([
        .addAddress(address, to: bridge), .changeLink(.index(bridge), LinkChange(isUp: true)),
      ])
      let tree = try namespaceFile("fib_trie")
      #expect(tree.contains("10.9.8.7") && tree.contains("10.9.8.255"))
      let error = try #require(throws: NetlinkError.self) {
        try socket.perform(.addAddress(address, to: bridge))
      }
      #expect(error.code == EEXIST)
      #expect(error.description.contains("add address 10.9.8.7/24 to interface \(bridge): "))
    }
  }

  @Test func errorsNameTheInterfaceAndGiveTheKernelsWords() async throws {
    try await NetworkNamespace.run {
      var socket = try RouteSocket()
      _ = try Tap.create(name: name("vif1.0"))
      let missing = try #require(throws: NetlinkError.self) {
        try socket.perform(.changeLink(.name(name("vif9.0")), LinkChange(isUp: true)))
      }
      #expect(missing.code == ENODEV)
      #expect(missing.description == "change link 'vif9.0': No such device")

      let tooLarge = try #require(throws: NetlinkError.self) {
        try socket.perform(.changeLink(.name(name("vif1.0")), LinkChange(mtu: 100_000)))
      }
      guard case .refused(let refusal) = tooLarge else {
        Issue.record("\(tooLarge) is no refusal")
        return
      }
      #expect(refusal.code == EINVAL)
      #expect(refusal.message == "mtu greater than device maximum")
      #expect(
        tooLarge.description
          == "change link 'vif1.0': Invalid argument: mtu greater than device maximum")

      try socket.perform(.createBridge(name("br0")))
      #expect(throws: NetlinkError.self) { try socket.perform(.createBridge(name("br0"))) }
      // The socket goes on as if nothing had been.
      #expect(try socket.link(named: name("br0")) != nil)
    }
  }

  @Test func twoHundredRequestsGoInOnePacket() async throws {
    try await NetworkNamespace.run {
      var socket = try RouteSocket()
      try socket.perform((0..<200).map { .createBridge(name("br\($0)")) })
      #expect(socket.packetsSent == 1)
      #expect(socket.messagesSent == 200)
      let bridges = try socket.links().filter(\.isBridge)
      #expect(Set(bridges.map(\.name)) == Set((0..<200).map { name("br\($0)") }))
    }
  }

  @Test func aBatchSaysWhichRequestsWereRefused() async throws {
    try await NetworkNamespace.run {
      var socket = try RouteSocket()
      let error = try #require(throws: NetlinkError.self) {
        try socket.perform([
          .createBridge(name("br0")), .deleteLink(.name(name("gone"))), .createBridge(name("br1")),
          .createBridge(name("br0")),
        ])
      }
      guard case .partlyRefused(let refused) = error else {
        Issue.record("\(error) is not about a batch")
        return
      }
      #expect(refused.map(\.position) == [1, 3])
      #expect(refused.map(\.refusal.code) == [ENODEV, EEXIST])
      #expect(error.description.hasPrefix("delete link 'gone': No such device"))
      #expect(error.description.hasSuffix(" (and 1 more refused)"))
      #expect(try socket.links().count(where: \.isBridge) == 2)
    }
  }

  /// More refusals than a socket's buffer would hold if they all came at once.
  @Test func aLargeBatchLosesNoRefusal() async throws {
    try await NetworkNamespace.run {
      var socket = try RouteSocket()
      let requests = (0..<2000).map { RouteRequest.deleteLink(.name(name("gone\($0)"))) }
      let error = try #require(throws: NetlinkError.self) { try socket.perform(requests) }
      guard case .partlyRefused(let refused) = error else {
        Issue.record("\(error) is not about a batch")
        return
      }
      #expect(refused.map(\.position) == Array(0..<2000))
      #expect(refused.last?.refusal.subject == "'gone1999'")
      #expect(socket.messagesSent == 2000)
      #expect(socket.packetsSent == 8)
    }
  }

  @Test func noRequestsNeedNoPacket() async throws {
    try await NetworkNamespace.run {
      var socket = try RouteSocket()
      try socket.perform([])
      #expect(socket.packetsSent == 0)
    }
  }

  /// A dump of many datagrams.
  @Test func threeHundredLinksAreListed() async throws {
    try await NetworkNamespace.run {
      var socket = try RouteSocket(isStrict: false)
      try socket.perform((0..<300).map { .createBridge(name("br\($0)")) })
      try socket.perform(
        (0..<300).map { .changeLink(.name(name("br\($0)")), LinkChange(isUp: true, mtu: 1450)) })
      let links = try socket.links()
      #expect(links.count == 301)
      #expect(Set(links.map(\.index)).count == 301)
      #expect(links.filter(\.isBridge).allSatisfy { $0.mtu == 1450 && $0.isUp })
    }
  }

  /// Interfaces come and go on another thread all the while, until a listing had to be made again.
  @Test func aListingAmongChangesIsMadeAgain() async throws {
    try await NetworkNamespace.run {
      var socket = try RouteSocket()
      let lasting = (0..<300).map { name("br\($0)") }
      try socket.perform(lasting.map { .createBridge($0) })
      let churn = try Churn()
      defer { churn.stop() }
      let deadline = ContinuousClock.now + .seconds(120)
      var hadToRepeat = false
      while !hadToRepeat, ContinuousClock.now < deadline {
        let before = socket.packetsSent
        let names = Set(try socket.links().map(\.name))
        #expect(names.isSuperset(of: lasting))
        hadToRepeat = socket.packetsSent > before + 1
      }
      #expect(hadToRepeat, "no listing was interrupted, or none was noticed")
    }
  }

  /// Two thousand refusals overflow the socket: that is an error, and it is over with the next request.
  @Test func lostAnswersAreNoSuccess() async throws {
    try await NetworkNamespace.run {
      var socket = try RouteSocket()
      socket.mostRequestsInPacket = 4096
      let error = try #require(throws: NetlinkError.self) {
        try socket.perform((0..<2000).map { .deleteLink(.name(name("gone\($0)"))) })
      }
      #expect(error.code == ENOBUFS)
      try socket.perform(.createBridge(name("br0")))
      #expect(try socket.link(named: name("br0"))?.isBridge == true)
    }
  }
}

/// Creates and deletes a bridge over and over, on a thread of its own in the namespace of the one that makes it.
private final class Churn: Sendable {
  private let isStopped = Atomic(false)
  private let hasEnded = DispatchSemaphore(value: 0)

  init() throws {
    let socket = Mutex(try RouteSocket())
    Thread {
      while !self.isStopped.load(ordering: .relaxed) {
        try? socket.withLock {
          try $0.perform([.createBridge(name("passing")), .deleteLink(.name(name("passing")))])
        }
      }
      self.hasEnded.signal()
    }.start()
  }

  func stop() {
    isStopped.store(true, ordering: .relaxed)
    hasEnded.wait()
  }
}
