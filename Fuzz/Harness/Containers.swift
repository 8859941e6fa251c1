import ChaosAPI
import VirtualLAN

@testable import ContainerNetwork

extension Target {
  /// What a runtime passes to the container plug-in: CNI_ARGS, a NUL, the configuration. What is taken holds only what
  /// a kernel can be asked for, results and records come back, and what is refused is refused in one line.
  static let cni = Target(name: "cni") { bytes in
    let parts = bytes.split(separator: 0, maxSplits: 1, omittingEmptySubsequences: false)
    let text = String(decoding: parts[0], as: UTF8.self)
    guard parts.count == 2 else {
      _ = try? Parameters { _ in text }
      checked { () throws(CNIError) in _ = try Arguments(parsing: text) }
      return
    }
    checked { () throws(CNIError) in
      let configuration = try NetworkConfiguration(parsing: Array(parts[1]))
      checked { () throws(CNIError) in _ = try configuration.lan() }
      checked { () throws(CNIError) in _ = try configuration.validAttachments() }
      checked { () throws(CNIError) in
        let plan = try configuration.plan(arguments: text)
        expect(plan.mac.map(\.isUnicast) ?? true, "\(plan)")
        for address in plan.addresses {
          expect(!address.address.address.isMulticast && !address.address.address.isUnspecified, "\(address)")
        }
      }
      checked { () throws(CNIError) in
        guard let result = try configuration.previousResult() else { return }
        for version in CNIVersion.allCases { _ = result.json(version: version) }
        let again = try? AttachmentResult(ConfigurationReader(result.json(version: .latest)))
        expect(again == result, "\(result) does not come back")
      }
    }
  }

  /// What Podman passes to the network driver: a network, or a network and what one container has on it. What is taken
  /// becomes a configuration with the addresses and the MAC that were given, and what is refused is refused in one line.
  static let netavark = Target(name: "netavark") { bytes in
    let input = Array(bytes)
    let created = NetavarkPlugin.serve(
      arguments: ["create"], version: "0", readInput: { input }, store: LANStore(definitions: "/nonexistent"),
      warn: { expect(!$0.contains { $0.isNewline }, "more than one line: \($0)") })
    expect(created.exitStatus == 1, "a network on no LAN")
    guard let json = try? JSON(parsing: input) else { return }
    checked { () throws(CNIError) in try NetavarkPlugin.Network(json).refuseWhatALANHasNot() }
    checked { () throws(CNIError) in
      let call = try NetavarkPlugin.Call(json)
      checked { () throws(CNIError) in _ = try NetworkConfiguration(parsing: call.leastConfiguration.compact).lan()
      }
      try call.refuseWhatALANHasNot()
      let wanted = try call.configuration()
      let plan = try NetworkConfiguration(parsing: wanted.compact).plan(arguments: "")
      expect(plan.mac.map(\.isUnicast) ?? true, "\(plan)")
      let texts = plan.addresses.map { JSON.string($0.address.description) }
      expect(wanted["runtimeConfig"]?["ips"] == .array(texts), "\(plan) of \(wanted)")
    }
  }

  private static func checked(_ body: () throws(CNIError) -> Void) {
    do throws(CNIError) {
      try body()
    } catch {
      expect(!error.description.contains { $0.isNewline }, "more than one line: \(error)")
    }
  }
}
