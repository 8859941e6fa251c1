import ChaosAPI
import Glibc
import Logging
import Threads

/// The logger's lines, on their way to standard error.
struct MessageLog: LogHandler {
  let label: String
  let messages: MessageWriter
  var logLevel = Logger.Level.info
  var metadata: Logger.Metadata = [:]

  init(label: String, messages: MessageWriter) {
    self.label = label
    self.messages = messages
  }

  subscript(metadataKey key: String) -> Logger.Metadata.Value? {
    get { metadata[key] }
    set { metadata[key] = newValue }
  }

  func log(event: LogEvent) {
    let time = Timestamp.format(seconds: time(nil))
    messages.write("\(time) \(event.level) \(label): \(event.message)")
  }
}
