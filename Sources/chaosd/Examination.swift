import ChaosAPI
import Glibc
import HostChecks

/// Says what is missing or set wrong on this host, in place of serving.
func examine(_ options: DaemonOptions) -> Never {
  // What the chaosd that runs was told counts, unless this one is told something else.
  let running = HostFacts.argumentsOfChaosd.flatMap { try? DaemonOptions($0) }
  let asRoot = options.backendAsRoot || running?.backendAsRoot == true
  let settings = HostFacts.Settings(
    socket: options.socket, xenInterface: options.xenInterface ?? running?.xenInterface,
    backendUser: asRoot ? nil : running?.backendUser ?? options.backendUser)
  let report = HostReport(HostFacts.gather(version: Product.version, settings))
  let text =
    options.wantsJSON ? String(decoding: report.json.pretty, as: UTF8.self) : report.text(isWhole: options.showsAll)
  print(text, terminator: "")
  exit(report.hasErrors ? 1 : 0)
}
