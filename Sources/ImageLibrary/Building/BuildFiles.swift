import Glibc
import StationCore
import StationLinux

/// Lays out what goes into an image: the profile's files, the marker, and scripts for the first boot.
enum BuildFiles {
    /// KEY=VALUE lines by which a device that runs can be matched to the record of its build.
    static let markerPath = "etc/flashing-station-release"

    /// Blocks.
    /// - Parameter directory: empty; becomes the root of what is put over the image's files.
    /// - Throws: `overlay_missing`, `overlay_invalid`, `storage_full`.
    static func layOut(_ request: BuildRequest, vault: ImageVault, into directory: String) throws(StationError) {
        if let overlay = request.overlaySHA256 {
            let path = vault.overlayPath(of: overlay)
            let file: Descriptor
            do {
                file = try Descriptor(opening: path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK)
            } catch {
                throw StationError(
                    "overlay_missing", "the files of \(request.profile.profileID) are not in the library: \(error)",
                    remedy: "import the profile again: stationctl profile import FILE")
            }
            let source = try ImageSource(file, stop: nil)
            try TarExtraction(
                source, root: try TarExtraction.realPath(directory), rules: .overlay,
                byteLimit: ImageVault.overlayByteLimit
            ).run()
            guard try source.finish() == overlay else {
                throw StationError(
                    "overlay_damaged", "the files of \(request.profile.profileID) in the library are damaged",
                    remedy: "import the profile again: stationctl profile import FILE")
            }
        }
        var files = FirstBootScripts.scripts(for: request.profile).map { (path: $0.path, text: $0.text, mode: 0o755) }
        files.append((markerPath, marker(request), 0o644))
        for file in files { try write(file.text, to: file.path, mode: UInt32(file.mode), below: directory) }
    }

    private static func marker(_ request: BuildRequest) -> String {
        """
        BUILD_ID=\(request.id)
        PROFILE_ID=\(request.profile.profileID)
        PROFILE_SHA256=\(request.profile.digest)
        IMAGE_BUILDER=\(request.triple)
        STATION_VERSION=\(StationVersion.text)

        """
    }

    private static func write(
        _ text: String, to path: String, mode: UInt32, below directory: String
    ) throws(StationError) {
        let parts = path.split(separator: "/")
        var parent = directory
        for part in parts.dropLast() {
            parent += "/\(part)"
            guard mkdir(parent, 0o755) == 0 || errno == EEXIST else {
                throw ImageVault.unusable(parent, SystemError("mkdir", parent))
            }
            // A profile's own link there would lead this file elsewhere.
            guard (try? FileStatus(of: parent, followingLinks: false))?.kind == .directory else {
                throw StationError(
                    "overlay_invalid",
                    "the profile's files have no directory at /\(path.split(separator: "/").dropLast().joined(separator: "/"))",
                    remedy: "the station writes /\(path) itself: leave that directory one")
            }
        }
        let target = "\(directory)/\(path)"
        unlink(target)
        do {
            let file = try Descriptor(opening: target, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, mode: mode)
            _ = try retrying("fchmod", target) { fchmod(file.number, mode) }
            try Array(text.utf8).withUnsafeBytes { bytes in try file.write(all: bytes) }
        } catch let error as SystemError {
            throw ImageVault.unusable(directory, error)
        } catch { throw StationError("internal_error", "\(error)") }
    }
}
