import ChaosAPI
import Glibc
import HTTPTypes
import Hummingbird
import NIOCore
import Toolstack

/// Making HTTP answers.
enum Answer {
  static func json(_ value: some JSONConvertible, status: HTTPResponse.Status = .ok) -> Response {
    json(value.json, status: status)
  }

  static func json(_ value: JSON, status: HTTPResponse.Status) -> Response {
    Response(
      status: status, headers: [.contentType: "application/json"],
      body: ResponseBody(byteBuffer: ByteBuffer(bytes: value.compact)))
  }

  static func empty(_ status: HTTPResponse.Status) -> Response { Response(status: status) }

  /// One line of application/x-ndjson.
  static func line(_ value: JSON) -> ByteBuffer { ByteBuffer(bytes: value.compact + [UInt8(ascii: "\n")]) }

  /// Seconds since 1970.
  static func now() -> Int { time(nil) }
}

/// Turns what a route throws into an error answer.
struct ErrorAnswers: RouterMiddleware {
  typealias Context = BasicRequestContext

  func handle(
    _ request: Request, context: Context, next: (Request, Context) async throws -> Response
  ) async throws -> Response {
    do {
      return try await next(request, context)
    } catch let error as Hummingbird.HTTPError {
      return Self.answer(Self.describe(error, request), status: error.status)
    } catch {
      let described = APIError(error)
      return Self.answer(described, status: .init(code: described.code.httpStatus))
    }
  }

  private static func describe(_ error: Hummingbird.HTTPError, _ request: Request) -> APIError {
    switch error.status {
    case .notFound: APIError(.notFound, "no such resource: \(request.method) \(request.uri.path)")
    case .contentTooLarge: APIError(.invalidArgument, "the request's body is too large")
    default: APIError(APIError.Code(httpStatus: error.status.code), error.body ?? error.status.reasonPhrase)
    }
  }

  private static func answer(_ error: APIError, status: HTTPResponse.Status) -> Response {
    Answer.json(error.body, status: status)
  }
}

/// A request's query parameters.
struct Query {
  private let request: Request

  init(_ request: Request) { self.request = request }

  subscript(name: String) -> String? { request.uri.queryParameters[name[...]].map { String($0) } }

  func flag(_ name: String) throws(APIError) -> Bool {
    switch self[name] {
    case nil, "false": return false
    case "true": return true
    case let other?: throw .refused(name, "expected 'true' or 'false'", other)
    }
  }

  /// A time limit in whole seconds, up to a day.
  func seconds(_ name: String, default standard: Int) throws(APIError) -> Int {
    guard let text = self[name] else { return standard }
    guard let value = Int(text), (0...86_400).contains(value) else {
      throw .refused(name, "expected 0...86400 seconds", text)
    }
    return value
  }
}
