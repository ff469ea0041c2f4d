package import StationCore
package import StationLinux

/// What the control socket asks of the station about profiles.
extension Station {
    package func profiles(_ filter: Control.ProfileFilter) async throws -> Control.Profiles {
        Control.Profiles(profiles: try await store.profiles(filter))
    }

    package func profileVersions(_ profileID: String) async throws -> Control.Profiles {
        let versions = try await store.profileVersions(profileID)
        guard !versions.isEmpty else { throw try await unknownProfile(profileID) }
        return Control.Profiles(profiles: versions)
    }

    package func profile(_ query: Control.ProfileVersionQuery) async throws -> Control.ProfileContent {
        if let stored = try await store.profile(query.profileID, version: query.version) {
            return Control.ProfileContent(stored)
        }
        guard let version = query.version, try await !store.profileVersions(query.profileID).isEmpty else {
            throw try await unknownProfile(query.profileID)
        }
        throw StationError(
            "profile_unknown", "there is no version \(version) of \(query.profileID.printable(limit: 130))",
            remedy: "stationctl profile history \(query.profileID.printable(limit: 130))")
    }

    package func importProfile(
        _ parameters: Control.ImportProfile, overlay: Descriptor?, caller: UInt32
    ) async throws -> Control.ImportedProfile {
        // Whoever sends it, and whatever has looked at it before: the station holds it to every rule itself.
        let reading = ProfileReader.read(DocumentNode(parameters.profile))
        guard let profile = reading.profile else { throw reading.error }
        guard profile.namesFiles == (parameters.overlaySHA256 != nil), (overlay != nil) == profile.namesFiles else {
            throw StationError(
                profile.namesFiles ? "descriptor_missing" : "overlay_invalid",
                profile.namesFiles
                    ? "the profile names files, and no archive of them came beside the call"
                    : "an archive came beside a profile that names no files",
                remedy: "stationctl profile import FILE packs and sends it")
        }
        if let overlay, let expected = parameters.overlaySHA256 {
            for try await _ in library.perform(.importOverlay(expected: expected), files: [overlay]) {}
        }
        return try await store.addProfile(profile, overlaySHA256: parameters.overlaySHA256, callerUserID: caller)
    }

    package func deleteProfile(_ profileID: String, caller: UInt32) async throws {
        guard try await store.deleteProfile(profileID, callerUserID: caller) else {
            throw try await unknownProfile(profileID)
        }
    }

    func unknownProfile(_ profileID: String) async throws -> StationError {
        let names = try await store.profiles(.init()).map(\.profileID)
        return StationError(
            "profile_unknown", "there is no profile “\(profileID.printable(limit: 130))”",
            remedy: String(profileID.prefix(130)).nearest(in: names).map { "did you mean \($0)?" }
                ?? "stationctl profile list")
    }
}
