// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

/// Certificates for tests alone: their keys are public. Valid for a hundred years; ECDSA P-256.
enum TestCertificates {
    /// Signed ``certificate``.
    static let authority = """
        -----BEGIN CERTIFICATE-----
        MIIBqTCCAU+gAwIBAgIUERMcM4PVbWrp4dYZCWAR8NqT4SkwCgYIKoZIzj0EAwIw
        ITEfMB0GA1UEAwwWVGVybiB0ZXN0IGF1dGhvcml0eSBjYTAgFw0yNjExMjEwNTMx
        NDhaGA8yMTI2MTAyODA1MzE0OFowITEfMB0GA1UEAwwWVGVybiB0ZXN0IGF1dGhv
        cml0eSBjYTBZMBMGByqGSM49AgEGCCqGSM49AwEHA0IABFN4V0u6qd/1s3z01OR0
        kIr03qQ+dQT3MmPnDMcMVNLMf1Dndhb2gWn1YpHzTNlXw8lu+/uNbWxBDOalA6aW
        eeWjYzBhMB0GA1UdDgQWBBQABlCwjKfH4QuOgMENeCT7yweaYTAfBgNVHSMEGDAW
        gBQABlCwjKfH4QuOgMENeCT7yweaYTAPBgNVHRMBAf8EBTADAQH/MA4GA1UdDwEB
        /wQEAwICBDAKBggqhkjOPQQDAgNIADBFAiEAz9e+H8QF8qPXdhw/l84eG3e4FERP
        ECi73RqPxKZPZFgCIEbOcQMYZKFIMtRPuB0BGOXBoOFFfTgYT9xSG4j8gCD6
        -----END CERTIFICATE-----
        """

    /// Signed nothing.
    static let otherAuthority = """
        -----BEGIN CERTIFICATE-----
        MIIBrjCCAVWgAwIBAgIUYP2iyJUe4dqzjQj5ymXTxW4Pz2UwCgYIKoZIzj0EAwIw
        JDEiMCAGA1UEAwwZVGVybiB0ZXN0IGF1dGhvcml0eSBvdGhlcjAgFw0yNjExMjEw
        NTMxNDhaGA8yMTI2MTAyODA1MzE0OFowJDEiMCAGA1UEAwwZVGVybiB0ZXN0IGF1
        dGhvcml0eSBvdGhlcjBZMBMGByqGSM49AgEGCCqGSM49AwEHA0IABJIFe/JiyRYF
        rOfIR2xHYjnw0CD+cByzxBHijLzUsxx/jOJ+Js7pqTHB1tRCcNtgSm7TearD0JMQ
        NpCq5fI0g4+jYzBhMB0GA1UdDgQWBBQAsdEl1IPXKXY5hUk9Qrz8r6FpXTAfBgNV
        HSMEGDAWgBQAsdEl1IPXKXY5hUk9Qrz8r6FpXTAPBgNVHRMBAf8EBTADAQH/MA4G
        A1UdDwEB/wQEAwICBDAKBggqhkjOPQQDAgNHADBEAiBGMjfeVPBDFnQI9+wx8TVc
        tR7eMidm4Vx26cHeZU2VkAIgRuavCxa9CS/lnuVyiaW1scFFOKf2Vaa7hv/ouSWm
        4X8=
        -----END CERTIFICATE-----
        """

    /// For `localhost`.
    static let certificate = """
        -----BEGIN CERTIFICATE-----
        MIIBkTCCATegAwIBAgIUCD2Za6yAk/AQa7384zHSfkdqn50wCgYIKoZIzj0EAwIw
        ITEfMB0GA1UEAwwWVGVybiB0ZXN0IGF1dGhvcml0eSBjYTAgFw0yNjExMjEwNTMx
        NDhaGA8yMTI2MTAyODA1MzE0OFowFDESMBAGA1UEAwwJbG9jYWxob3N0MFkwEwYH
        KoZIzj0CAQYIKoZIzj0DAQcDQgAEL4uBXPoNniGE/btRe7Ud1dyqltNA1pyyLHQi
        wZJQsautRyhbGbdiCOoKqn6BHNBGnfDyg70WLPurvMlkUPx5m6NYMFYwFAYDVR0R
        BA0wC4IJbG9jYWxob3N0MB0GA1UdDgQWBBSJpnS9j0fjz6gfdX+Tv3UPHPyR/zAf
        BgNVHSMEGDAWgBQABlCwjKfH4QuOgMENeCT7yweaYTAKBggqhkjOPQQDAgNIADBF
        AiEArdT2OuXlxtOy9M0sNRhsrVYxImh82jLi49mvqMFYgvsCICcRe/4PTK/8DPv8
        5HQv0BR+0m3hz7fStuYfA9YFnrcJ
        -----END CERTIFICATE-----
        """

    static let key = """
        -----BEGIN PRIVATE KEY-----
        MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgef7NCxGEsE6lCIXj
        BHpO+e2hYabSIisd/xELwacz9TahRANCAAQvi4Fc+g2eIYT9u1F7tR3V3KqW00DW
        nLIsdCLBklCxq61HKFsZt2II6gqqfoEc0Ead8PKDvRYs+6u8yWRQ/Hmb
        -----END PRIVATE KEY-----
        """
}
