// swift-tools-version:6.2
import PackageDescription

let strict: [SwiftSetting] = [
  .swiftLanguageMode(.v6),
  .treatAllWarnings(as: .error),
  .enableExperimentalFeature("Lifetimes"),
]

func room(_ name: String, _ dependencies: [Target.Dependency] = []) -> Target {
  .target(name: name, dependencies: dependencies, swiftSettings: strict)
}

func program(_ name: String, _ dependencies: [Target.Dependency]) -> Target {
  .executableTarget(name: name, dependencies: dependencies, swiftSettings: strict)
}

func tests(of name: String, _ dependencies: [Target.Dependency] = [], excluding: [String] = []) -> Target {
  .testTarget(
    name: "\(name)Tests", dependencies: [.target(name: name)] + dependencies,
    exclude: excluding, swiftSettings: strict)
}

let package = Package(
  name: "chaos",
  products: [
    .library(name: "ChaosAPI", targets: ["ChaosAPI"]),
    .library(name: "DevicePages", targets: ["DevicePages"]),
  ],
  dependencies: [
    .package(url: "https://github.com/apple/swift-nio", from: "2.101.0"),
    .package(url: "https://github.com/apple/swift-log", from: "1.16.0"),
  ],
  targets: [
    // The device page's one definition, shared with images/runtime.
    .target(name: "CDevicePage"),
    // The hypervisor's interfaces, through Xen's stable libraries.
    .target(
      name: "CXen",
      linkerSettings: [
        .linkedLibrary("xenforeignmemory"),
        .linkedLibrary("xendevicemodel"), .linkedLibrary("xenevtchn"), .linkedLibrary("xencall"),
        .linkedLibrary("xentoollog"), .linkedLibrary("xentoolcore"),
      ]),
    room("Xen", ["CXen"]),
    // Dumps of guests as files.
    room("CoreDump", ["Xen"]),
    // The C library's headers, for the build of chaos in Embedded Swift, which has no Glibc module.
    .target(name: "CPosix"),
    room("NetworkAddresses", ["CPosix"]),
    room("DevicePages", ["CDevicePage", "NetworkAddresses"]),
    // Debian's libraries for what kernels are packed with: static, no build time.
    .target(
      name: "CDecompress",
      linkerSettings: [
        .linkedLibrary("z"), .linkedLibrary("bz2"), .linkedLibrary("lzma"), .linkedLibrary("lzo2"),
        .linkedLibrary("lz4"), .linkedLibrary("zstd"),
      ]),
    room("DomainBuilder", ["CDecompress", "CDevicePage", "DevicePages", "Xen"]),
    // Plain threads, and the right to block on them.
    .target(name: "CThreads"),
    room("Threads", ["CThreads"]),
    // Shims for vhost-net, taps and descriptor passing.
    .target(name: "CBackends"),
    room("Backends", ["CBackends", "CDevicePage", "DevicePages", "Threads", "Xen"]),
    // SHA-256 from Debian's libmd: small, static, no build time.
    .target(name: "CDigest", linkerSettings: [.linkedLibrary("md")]),
    room("ImageStore", ["CDigest", "DomainBuilder"]),
    // Files replaced whole, and locks between processes.
    room("StateFiles"),
    // Macros of linux/rtnetlink.h and linux/if_tun.h.
    .target(name: "CNetlink"),
    room("VirtualLAN", ["CNetlink", "ChaosAPI", "NetworkAddresses", "StateFiles"]),
    room("ChaosAPI", ["CPosix", "NetworkAddresses"]),
    // setns(2), for the container plug-in.
    .target(name: "CContainer"),
    room("ContainerNetwork", ["CContainer", "ChaosAPI", "NetworkAddresses", "StateFiles", "VirtualLAN"]),
    // The unikernels' protocol code, for its tests on the host.
    .target(
      name: "ImageProtocols", dependencies: ["CDevicePage"], path: "images/runtime/Protocols", swiftSettings: strict
    ),
    room(
      "ShellPool",
      [
        "Backends", "CBackends", "CDevicePage", "ChaosAPI", "DevicePages", "DomainBuilder", "ImageStore",
        "NetworkAddresses", "StateFiles", "Threads", "VirtualLAN", "Xen",
      ]
    ),
    room(
      "Toolstack",
      [
        "Backends", "CDevicePage", "ChaosAPI", "ContainerNetwork", "CoreDump", "DevicePages", "ImageStore",
        "NetworkAddresses", "ShellPool", "StateFiles", "Threads", "VirtualLAN", "Xen",
      ]),
    // What chaos needs of a host.
    room("HostChecks", ["Backends", "ChaosAPI", "StateFiles", "Threads", "VirtualLAN", "Xen"]),
    program("chaos", ["ChaosAPI", "CPosix"]),
    program("chaos-bench", ["ChaosAPI"]),
    program("chaos-backend", ["Backends", "CBackends", "Threads"]),
    program("chaos-cni", ["ChaosAPI", "ContainerNetwork"]),
    program("chaos-netavark", ["ChaosAPI", "ContainerNetwork"]),
    program(
      "chaosd",
      [
        "Backends", "ChaosAPI", "HostChecks", "ImageStore", "ShellPool", "StateFiles", "Threads", "Toolstack",
        "VirtualLAN", "Xen",
        .product(name: "Logging", package: "swift-log"), .product(name: "NIOCore", package: "swift-nio"),
        .product(name: "NIOHTTP1", package: "swift-nio"), .product(name: "NIOPosix", package: "swift-nio"),
      ]),
    tests(of: "Xen", ["CXen"], excluding: ["Layouts"]),
    tests(of: "CoreDump", ["Xen"]),
    tests(of: "NetworkAddresses"),
    tests(of: "DevicePages", ["CDevicePage", "ImageProtocols", "NetworkAddresses"]),
    tests(of: "DomainBuilder", ["CDecompress", "CDevicePage", "DevicePages", "Xen"]),
    tests(of: "Backends", ["CBackends", "CDevicePage", "DevicePages", "Threads", "Xen", "chaos-backend"]),
    tests(of: "ImageStore", ["DomainBuilder"]),
    tests(of: "VirtualLAN", ["CNetlink", "NetworkAddresses"]),
    tests(
      of: "ContainerNetwork",
      ["CContainer", "ChaosAPI", "NetworkAddresses", "StateFiles", "VirtualLAN", "chaos-cni", "chaos-netavark"]),
    tests(of: "ChaosAPI", ["NetworkAddresses", "chaos"]),
    tests(of: "HostChecks", ["ChaosAPI"]),
    tests(of: "StateFiles"),
    tests(of: "Threads"),
    tests(
      of: "ShellPool",
      ["ChaosAPI", "DevicePages", "ImageStore", "NetworkAddresses", "StateFiles", "VirtualLAN", "Xen"]),
    tests(
      of: "Toolstack",
      ["ChaosAPI", "DevicePages", "ImageStore", "NetworkAddresses", "ShellPool", "VirtualLAN", "Xen"]),
    tests(
      of: "chaosd",
      [
        "ChaosAPI", "Threads", .product(name: "NIOCore", package: "swift-nio"),
        .product(name: "NIOPosix", package: "swift-nio"),
      ]),
    .testTarget(
      name: "ImageRuntimeTests", dependencies: ["CDevicePage", "ImageProtocols"], swiftSettings: strict),
  ]
)
