// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

#include "Peers.h"

#include <errno.h>
#include <gnutls/gnutls.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

// The cipher that Tern prefers.
static const char *const priority = "NORMAL:-VERS-ALL:+VERS-TLS1.3:-CIPHER-ALL:+AES-128-GCM";
enum { record_size = 16384 };
static char record[record_size];

static void check(int result, const char *what) {
    if (result >= 0) { return; }
    fprintf(stderr, "%s: %s\n", what, gnutls_strerror(result));
    _exit(1);
}

static gnutls_session_t shake_hands(unsigned role, gnutls_certificate_credentials_t credentials, int descriptor) {
    int yes = 1;
    setsockopt(descriptor, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
    gnutls_session_t session;
    check(gnutls_init(&session, role), "gnutls_init");
    check(gnutls_priority_set_direct(session, priority, NULL), "priority");
    check(gnutls_credentials_set(session, GNUTLS_CRD_CERTIFICATE, credentials), "credentials");
    gnutls_transport_set_int(session, descriptor);
    int result;
    do { result = gnutls_handshake(session); } while (result < 0 && !gnutls_error_is_fatal(result));
    check(result, "handshake");
    return session;
}

static ssize_t receive(gnutls_session_t session) {
    ssize_t count;
    do {
        count = gnutls_record_recv(session, record, record_size);
    } while (count == GNUTLS_E_AGAIN || count == GNUTLS_E_INTERRUPTED);
    return count;
}

void serve_tls_records(const char *certificate, const char *key, size_t bytes) {
    gnutls_certificate_credentials_t credentials;
    check(gnutls_certificate_allocate_credentials(&credentials), "credentials");
    check(
        gnutls_certificate_set_x509_key_file(credentials, certificate, key, GNUTLS_X509_FMT_PEM), "certificate");
    int listener = bind_and_tell(SOCK_STREAM);
    int descriptor = accept(listener, NULL, NULL);
    if (descriptor < 0) { fail("accept"); }
    gnutls_session_t session = shake_hands(GNUTLS_SERVER, credentials, descriptor);
    // The request.
    check((int)receive(session), "request");
    memset(record, 0, sizeof record);
    while (bytes > 0) {
        ssize_t sent = gnutls_record_send(session, record, bytes < record_size ? bytes : record_size);
        if (sent == GNUTLS_E_AGAIN || sent == GNUTLS_E_INTERRUPTED) { continue; }
        check((int)sent, "send");
        bytes -= (size_t)sent;
    }
    gnutls_bye(session, GNUTLS_SHUT_WR);
    gnutls_deinit(session);
    close(descriptor);
    gnutls_certificate_free_credentials(credentials);
    wait_for_end_of_input();
}

void fetch_tls_records(uint16_t port) {
    gnutls_certificate_credentials_t credentials;
    check(gnutls_certificate_allocate_credentials(&credentials), "credentials");
    int descriptor = connect_to(SOCK_STREAM, port);
    gnutls_session_t session = shake_hands(GNUTLS_CLIENT, credentials, descriptor);
    check((int)gnutls_record_send(session, "G", 1), "request");
    uint64_t first = 0;
    size_t total = 0;
    ssize_t count;
    while ((count = receive(session)) > 0) {
        if (first == 0) { first = monotonic_nanoseconds(); }
        total += (size_t)count;
    }
    check((int)count, "receive");
    printf(
        "{\"byteCount\":%zu,\"transferSeconds\":%.6f,\"handshakeMilliseconds\":0}\n", total,
        (double)(monotonic_nanoseconds() - first) / 1e9);
    gnutls_deinit(session);
    close(descriptor);
    gnutls_certificate_free_credentials(credentials);
}
