/// One version of a profile in the store, without its content.
package struct ProfileRecord: Equatable, Codable, Sendable {
    package var profileID: String
    /// Counts up from 1 with each import that changed something.
    package var version: Int
    package var name: String
    package var deviceID: String
    package var tags: [String]
    package var release: String
    package var target: String
    package var subtarget: String
    package var imageBuilderProfile: String
    /// Of the canonical text.
    package var sha256: SHA256Digest
    /// Of the tree of its files; nil where it has none.
    package var overlaySHA256: SHA256Digest?
    /// Seconds since 1970.
    package var importedAt: Double
    package var importedByUserID: UInt32

    package init(
        _ profile: Profile, version: Int, overlaySHA256: SHA256Digest?, importedAt: Double, importedByUserID: UInt32
    ) {
        profileID = profile.profileID
        self.version = version
        name = profile.name
        deviceID = profile.deviceID
        tags = profile.tags
        release = profile.release
        target = profile.target
        subtarget = profile.subtarget
        imageBuilderProfile = profile.imageBuilderProfile
        sha256 = profile.digest
        self.overlaySHA256 = overlaySHA256
        self.importedAt = importedAt
        self.importedByUserID = importedByUserID
    }
}

/// A version of a profile with its content.
package struct StoredProfile: Equatable, Sendable {
    package var record: ProfileRecord
    package var profile: Profile
    /// When the first version came, in seconds since 1970.
    package var createdAt: Double

    package init(record: ProfileRecord, profile: Profile, createdAt: Double) {
        self.record = record
        self.profile = profile
        self.createdAt = createdAt
    }
}

extension Control {
    /// Parameters of `ImportProfile`. Where the profile names files, their archive's descriptor comes beside the message.
    package struct ImportProfile: Codable, Equatable, Sendable {
        package var profile: JSONValue
        /// Of the archive.
        package var overlaySHA256: SHA256Digest?

        package init(profile: JSONValue, overlaySHA256: SHA256Digest?) {
            self.profile = profile
            self.overlaySHA256 = overlaySHA256
        }
    }

    /// Reply of `ImportProfile`.
    package struct ImportedProfile: Codable, Equatable, Sendable {
        package var profile: ProfileRecord
        /// False when the same content was there already.
        package var isNewVersion: Bool

        package init(profile: ProfileRecord, isNewVersion: Bool) {
            self.profile = profile
            self.isNewVersion = isNewVersion
        }
    }

    /// Parameters of `ListProfiles`: what is nil does not filter.
    package struct ProfileFilter: Codable, Equatable, Sendable {
        package var tag: String?
        package var device: String?
        package var release: String?
        /// `target`, or `target/subtarget`.
        package var target: String?

        package init(tag: String? = nil, device: String? = nil, release: String? = nil, target: String? = nil) {
            self.tag = tag
            self.device = device
            self.release = release
            self.target = target
        }

        package func matches(_ profile: Profile) -> Bool {
            (tag.map(profile.tags.contains) ?? true) && (device ?? profile.deviceID) == profile.deviceID
                && (release ?? profile.release) == profile.release
                && [nil, profile.target, "\(profile.target)/\(profile.subtarget)"].contains(target)
        }
    }

    /// Reply of `ListProfiles` and `ListProfileVersions`.
    package struct Profiles: Codable, Equatable, Sendable {
        package var profiles: [ProfileRecord]
        package init(profiles: [ProfileRecord]) { self.profiles = profiles }
    }

    /// Parameters of what is about one profile.
    package struct ProfileQuery: Codable, Equatable, Sendable {
        package var profileID: String
        package init(profileID: String) { self.profileID = profileID }
    }

    /// Parameters of `GetProfile`.
    package struct ProfileVersionQuery: Codable, Equatable, Sendable {
        package var profileID: String
        /// Nil for the newest.
        package var version: Int?

        package init(profileID: String, version: Int?) {
            self.profileID = profileID
            self.version = version
        }
    }

    /// Reply of `GetProfile`.
    package struct ProfileContent: Codable, Equatable, Sendable {
        package var record: ProfileRecord
        package var profile: Profile
        package var createdAt: Double

        package init(_ stored: StoredProfile) {
            record = stored.record
            profile = stored.profile
            createdAt = stored.createdAt
        }
    }
}
