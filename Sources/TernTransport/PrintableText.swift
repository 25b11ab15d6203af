// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

extension String {
    /// The text as one line that can only be read: for everything that a peer may have written and that is logged or printed.
    ///
    /// Control characters, line and paragraph separators would forge lines or steer a terminal; directional and other invisible
    /// characters would show something else than is there. Each becomes U+FFFD.
    ///
    /// - Parameters:
    ///   - limit: the most Unicode scalars; what is longer is cut, and ends in an ellipsis.
    ///   - keepsJoiners: whether U+200C and U+200D stay, which texts of several scripts and emoji need.
    package func printable(atMost limit: Int = 512, keepsJoiners: Bool = false) -> String {
        var text = String.UnicodeScalarView()
        var count = 0
        for scalar in self.unicodeScalars {
            guard count < limit else {
                text.append("\u{2026}")
                break
            }
            count += 1
            let stays = scalar.isPrintable || keepsJoiners && (scalar == "\u{200c}" || scalar == "\u{200d}")
            text.append(stays ? scalar : "\u{fffd}")
        }
        return String(text)
    }
}

extension Unicode.Scalar {
    /// Whether it is shown as itself, and changes nothing around it.
    package var isPrintable: Bool {
        if self.isASCII { return self.value >= 0x20 && self.value != 0x7f }
        switch self.properties.generalCategory {
        case .control, .format, .surrogate, .privateUse, .unassigned, .lineSeparator, .paragraphSeparator: return false
        default: return true
        }
    }
}
