/// The version of the station: of its programs, which belong together.
package enum StationVersion {
    package static let text = "0.1.0"
}
