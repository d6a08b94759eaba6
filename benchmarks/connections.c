/* A client of an agent, as small as C and OpenSSL allow: what benchmarks/connections.py is beside.
 *
 * connections PORT CA SECONDS new|resumed|kept
 *
 * Connects, checks the agent's certificate against the CA, sends a request, reads two lines (the
 * acknowledgement and the result), closes; again and again.  "resumed" takes up the last session,
 * "kept" the connection.  Prints one line of JSON, with the processor time that all of it took.
 */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

static const char REQUEST[] =
    "{\"harp\":1,\"procedure\":\"ping\",\"arguments\":[],"
    "\"job\":\"8ec71d6b-28d1-4ce2-aa23-f3ea7887beda\","
    "\"auth\":{\"user\":\"bench\",\"password\":\"secret\"}}\n";

static SSL_SESSION *session;

static void fail(const char *what)
{
    fprintf(stderr, "connections: %s failed\n", what);
    ERR_print_errors_fp(stderr);
    exit(1);
}

static double now(clockid_t clock)
{
    struct timespec at;
    clock_gettime(clock, &at);
    return at.tv_sec + at.tv_nsec / 1e9;
}

static int keep_session(SSL *ssl, SSL_SESSION *fresh)
{
    (void)ssl;
    SSL_SESSION_free(session);
    session = fresh;
    return 1;
}

static SSL *connected(SSL_CTX *context, int port, int resume)
{
    struct sockaddr_in place = {.sin_family = AF_INET, .sin_port = htons(port)};
    int one = 1, fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    SSL *ssl;

    place.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (fd < 0 || connect(fd, (struct sockaddr *)&place, sizeof place))
        fail("connect");
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    ssl = SSL_new(context);
    if (!ssl || !SSL_set_fd(ssl, fd) || !SSL_set_tlsext_host_name(ssl, "agent"))
        fail("SSL_new");
    if (resume && session)
        SSL_set_session(ssl, session);
    if (SSL_connect(ssl) != 1 || SSL_get_verify_result(ssl) != X509_V_OK)
        fail("SSL_connect");
    return ssl;
}

static void call(SSL *ssl)
{
    char answer[4096];
    int lines = 0, got;

    if (SSL_write(ssl, REQUEST, sizeof REQUEST - 1) <= 0)
        fail("SSL_write");
    while (lines < 2) {
        got = SSL_read(ssl, answer, sizeof answer);
        if (got <= 0)
            fail("SSL_read");
        for (int i = 0; i < got; i++)
            lines += answer[i] == '\n';
    }
}

static void closed(SSL *ssl)
{
    int fd = SSL_get_fd(ssl);
    SSL_shutdown(ssl);
    SSL_free(ssl);
    close(fd);
}

int main(int count, char **arguments)
{
    if (count != 5)
        return 2;
    int port = atoi(arguments[1]);
    double seconds = atof(arguments[3]);
    int kept = !strcmp(arguments[4], "kept"), resume = !strcmp(arguments[4], "resumed");
    SSL_CTX *context = SSL_CTX_new(TLS_client_method());
    SSL *ssl = NULL;
    long calls = 0, resumed = 0;

    SSL_CTX_set_min_proto_version(context, TLS1_2_VERSION);
    SSL_CTX_set_verify(context, SSL_VERIFY_PEER, NULL);
    SSL_CTX_set_session_cache_mode(context, SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL);
    SSL_CTX_sess_set_new_cb(context, keep_session);
    if (SSL_CTX_load_verify_locations(context, arguments[2], NULL) != 1)
        fail("loading the CA");
    double began = now(CLOCK_MONOTONIC), spent = now(CLOCK_PROCESS_CPUTIME_ID);
    while (now(CLOCK_MONOTONIC) < began + seconds) {
        if (!ssl) {
            ssl = connected(context, port, resume);
            resumed += SSL_session_reused(ssl);
        }
        call(ssl);
        calls++;
        if (!kept) {
            closed(ssl);
            ssl = NULL;
        }
    }
    spent = now(CLOCK_PROCESS_CPUTIME_ID) - spent;
    began = now(CLOCK_MONOTONIC) - began;
    printf("{\"total\": %ld, \"resumed\": %ld, \"per_second\": %f, \"processor_seconds\": %f}\n", calls,
           resumed, calls / began, spent);
    return 0;
}
