import ChaosAPI
import ShellPool
import Testing
import VirtualLAN
import Xen

@testable import Toolstack

/// What the reconciler finds when it compares what should be with what is.
@Suite struct DifferenceTests {
  private static let guest = identity(7, 0xa0)
  private static let shell = identity(8, 0xb0)
  private static let tap = GuestTap(slot: 0, name: InterfaceName("ch7.0")!, index: InterfaceIndex(rawValue: 41)!)
  private static let bridge = InterfaceName("br0")!
  private static let bridgeIndex = InterfaceIndex(rawValue: 3)!

  private static func identity(_ domain: UInt16, _ octet: UInt8) -> DomainIdentity {
    DomainIdentity(
      domain: DomainID(rawValue: domain), handle: DomainHandle([UInt8](repeating: octet, count: 16))!)
  }

  private static func info(
    _ identity: DomainIdentity, isDying: Bool = false, shutdown: ShutdownReason? = nil
  ) -> DomainInfo {
    DomainInfo(
      id: identity.domain, handle: identity.handle, isDying: isDying, isShutdown: shutdown != nil, isPaused: false,
      isBlocked: true, isRunning: false, shutdownReason: shutdown ?? .poweroff, pages: 1, maxPages: 1,
      cpuNanoseconds: 1)
  }

  private static func link(
    _ index: InterfaceIndex, _ name: InterfaceName, kind: LinkKind, master: InterfaceIndex? = nil,
    group: UInt32 = 0, port: BridgePort? = nil
  ) -> Link {
    Link(
      index: index, name: name, mtu: 1500, flags: .up, kind: kind, master: master, address: nil,
      group: InterfaceGroup(rawValue: group), peerIndex: nil, vxlan: nil, port: port, statistics: nil)
  }

  /// A guest with a vif on a bridge, and a shell: all as it should be.
  private var wanted: WantedState {
    var wanted = WantedState()
    wanted.guests = [.init(identity: Self.guest, taps: [Self.tap], bridges: [0: Self.bridge], vifs: [0])]
    wanted.shells = [.init(identity: Self.shell)]
    wanted.recorded = [Self.guest.handle, Self.shell.handle]
    wanted.taps = [Self.tap.index]
    return wanted
  }

  private var actual: ActualState {
    ActualState(
      domains: [Self.guest: Self.info(Self.guest), Self.shell: Self.info(Self.shell)],
      served: [Self.guest: [0], Self.shell: [0]],
      links: [
        Self.link(Self.bridgeIndex, Self.bridge, kind: .bridge),
        Self.link(
          Self.tap.index, Self.tap.name, kind: .tun, master: Self.bridgeIndex, group: HostNetwork.tapGroup.rawValue),
      ],
      logs: [Self.guest.handle, Self.shell.handle])
  }

  @Test func whatIsAsItShouldBeIsNoDifference() {
    #expect(Difference.between(wanted, actual) == [])
  }

  @Test func aGuestWhoseDomainIsGoneOrDyingHasStopped() {
    var actual = actual
    actual.domains[Self.guest] = nil
    #expect(Difference.between(wanted, actual).contains(.stopped(Self.guest, .destroyed)))
    actual.domains[Self.guest] = Self.info(Self.guest, isDying: true)
    #expect(Difference.between(wanted, actual).contains(.stopped(Self.guest, .destroyed)))
  }

  /// Its number is another's by now: half an identity is nobody's.
  @Test func anotherDomainWithTheGuestsNumberOrHandleIsNotTheGuest() {
    for other in [Self.identity(7, 0xc0), Self.identity(9, 0xa0)] {
      var actual = actual
      actual.domains[Self.guest] = nil
      actual.domains[other] = Self.info(other)
      #expect(Difference.between(wanted, actual).contains(.stopped(Self.guest, .destroyed)))
    }
  }

  @Test(arguments: [
    (ShutdownReason.poweroff, GuestEnd.poweroff), (.reboot, .reboot), (.softReset, .reboot), (.crash, .crash),
    (.watchdog, .watchdog), (.suspend, .suspend), (ShutdownReason(rawValue: 200), .crash),
  ])
  func aGuestThatShutDownHasStopped(reason: ShutdownReason, end: GuestEnd) {
    var actual = actual
    actual.domains[Self.guest] = Self.info(Self.guest, shutdown: reason)
    #expect(Difference.between(wanted, actual) == [.stopped(Self.guest, end)])
    // Known and kept: nothing is left to do.
    var wanted = wanted
    wanted.guests[0].isStopped = true
    #expect(Difference.between(wanted, actual) == [])
  }

  @Test func aGuestThatIsToBeMadeAgainIsWhenItsTimeHasCome() {
    var actual = actual
    actual.domains[Self.guest] = Self.info(Self.guest, shutdown: .reboot)
    var wanted = wanted
    wanted.guests[0].isStopped = true
    #expect(Difference.between(wanted, actual) == [])
    wanted.guests[0].isRestartDue = true
    #expect(Difference.between(wanted, actual) == [.restartDue(Self.guest)])
  }

  @Test("a guest that nobody holds still any more goes on")
  func forgotten() {
    var wanted = wanted
    wanted.guests[0].isForgotten = true
    #expect(Difference.between(wanted, actual) == [.forgotten(Self.guest)])
    wanted.guests[0].isEnding = true
    #expect(Difference.between(wanted, actual).contains(.forgotten(Self.guest)) == false)
  }

  @Test func whatIsToBeStartedIs() {
    var wanted = wanted
    let handle = Self.identity(9, 0xd0).handle
    wanted.starts = [handle]
    #expect(Difference.between(wanted, actual) == [.unstarted(handle)])
  }

  @Test func anEndThatWasBegunIsFinished() {
    var wanted = wanted
    wanted.guests[0].isEnding = true
    #expect(Difference.between(wanted, actual) == [.unfinishedEnd(Self.guest)])
  }

  @Test func aShellThatIsGoneIsForgotten() {
    var actual = actual
    actual.domains[Self.shell] = nil
    #expect(Difference.between(wanted, actual).contains(.lostShell(Self.shell)))
  }

  @Test func whatNobodyIsAnswerableForIsUnmade() {
    var wanted = wanted
    let handle = Self.identity(9, 0xd0).handle
    wanted.abandoned = [handle]
    #expect(Difference.between(wanted, actual) == [.abandoned(handle)])
  }

  @Test func whatTheBackEndLacksIsHandedOver() {
    var actual = actual
    actual.served = [:]
    #expect(Difference.between(wanted, actual) == [.unserved(Self.guest), .unserved(Self.shell)])
    // Under an old handle it is not served either, and the old one is let go of.
    let old = Self.identity(7, 0xc0)
    actual.served = [old: [0], Self.shell: [0]]
    #expect(Difference.between(wanted, actual) == [.unserved(Self.guest), .strangerServed(old)])
    actual.served = nil
    #expect(Difference.between(wanted, actual) == [])
  }

  @Test func aGuestThatNobodyToldOfItsPageIsToldOnceItIsServed() {
    var wanted = wanted
    wanted.guests[0].isUntold = true
    #expect(Difference.between(wanted, actual) == [.untold(Self.guest)])
    var actual = actual
    actual.served = [Self.shell: [0]]
    #expect(Difference.between(wanted, actual) == [.unserved(Self.guest)])
    actual.served = nil
    #expect(Difference.between(wanted, actual) == [])
  }

  @Test func vifsThatTheBackEndHasTooManyOrTooFewAreFound() {
    var actual = actual
    actual.served?[Self.guest] = [1, 3]
    #expect(
      Difference.between(wanted, actual) == [
        .strangerVif(Self.guest, slot: 1), .strangerVif(Self.guest, slot: 3), .unservedVif(Self.guest, slot: 0),
      ])
    // A back-end of the version before does not say.
    actual.served?[Self.guest] = .some(nil)
    #expect(Difference.between(wanted, actual) == [])
  }

  @Test func whatTheBackEndServesOfNobodyIsLetGoOf() {
    var wanted = wanted
    wanted.guests = []
    wanted.recorded.remove(Self.guest.handle)
    var actual = actual
    actual.logs = nil
    actual.links = nil
    #expect(Difference.between(wanted, actual) == [.strangerServed(Self.guest)])
    // Another toolstack's, or one whose record cannot be read, is left alone.
    wanted.unreadable = [Self.guest.handle]
    #expect(Difference.between(wanted, actual) == [])
  }

  @Test func aTapOffItsBridgeIsPutBack() {
    var actual = actual
    // The bridge was deleted and made again: another index, the same name.
    let again = InterfaceIndex(rawValue: 99)!
    actual.links?[0] = Self.link(again, Self.bridge, kind: .bridge)
    #expect(Difference.between(wanted, actual) == [.misplacedTap(Self.guest, slot: 0)])
    // While there is no bridge the guest waits.
    actual.links?.removeFirst()
    #expect(Difference.between(wanted, actual) == [])
  }

  @Test func aTapOnItsBridgeWithoutItsSettingsIsSetUpThere() throws {
    var actual = actual
    let position = try #require(actual.links?.firstIndex { $0.kind == .tun })
    let tap = try #require(actual.links?[position])
    actual.links?[position] = Self.link(
      tap.index, tap.name, kind: .tun, master: tap.master, group: tap.group.rawValue, port: BridgePort())
    #expect(Difference.between(wanted, actual) == [.plainPort(Self.guest, slot: 0, tap.index)])
  }

  /// A name like a tap's makes nothing chaos's; the mark and a record do.
  @Test func onlyMarkedTapsThatNothingSpeaksOfAreStray() {
    var actual = actual
    let vlan = Self.link(InterfaceIndex(rawValue: 50)!, InterfaceName("ch1.5")!, kind: LinkKind(rawValue: "vlan"))
    let theirs = Self.link(InterfaceIndex(rawValue: 51)!, InterfaceName("ch1.6")!, kind: .tun)
    let stray = Self.link(
      InterfaceIndex(rawValue: 52)!, InterfaceName("renamed")!, kind: .tun, group: HostNetwork.tapGroup.rawValue)
    actual.links? += [vlan, theirs, stray]
    #expect(Difference.between(wanted, actual) == [.strayTap(stray.index, stray.name)])
  }

  @Test func logsOfNobodyGo() {
    var actual = actual
    let gone = Self.identity(9, 0xd0).handle
    actual.logs?.append(gone)
    #expect(Difference.between(wanted, actual) == [.strayLog(gone)])
    var wanted = wanted
    wanted.unreadable = [gone]
    #expect(Difference.between(wanted, actual) == [])
  }
}
