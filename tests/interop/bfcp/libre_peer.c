/*
 * Floor control of another make: libre's BFCP as codec, as client and as server.
 *
 *   decode                      messages in hex, one a line, to lines that say what libre read
 *   encode VERSION              every primitive as libre writes it: its number, then hex
 *   client udp|tcp|tls PORT     talks to a floor control server on 127.0.0.1, and says what it hears
 *   server udp|tcp|tls          is one, on a port that it says first
 *   time COUNT                  a message in hex; nanoseconds on a processor to read and to write it
 *   load PORT COUNT             requests and releases over TCP; nanoseconds for a pair
 *   idle                        answers requests over TCP with as little as can be, on a port it says first
 *
 * libre has transactions over UDP only. Over TCP and TLS its messages go through sockets of this program.
 * TLS is with a pre-shared key, of PSK_KEY (hex) and PSK_IDENTITY in the environment.
 */
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <openssl/ssl.h>
#include <re.h>

enum { CONFERENCE = 4711, USER = 7, FLOOR = 1 };

static void die(const char *what)
{
	printf("failed: %s\n", what);
	fflush(stdout);
	exit(1);
}

/* What libre read */

static void print_attributes(const struct list *attributes);

static void print_attribute(const struct bfcp_attr *attr)
{
	size_t i;

	printf(" %d%c", attr->type, attr->mand ? '+' : '-');
	switch (attr->type) {
	case BFCP_BENEFICIARY_ID:
	case BFCP_FLOOR_ID:
	case BFCP_FLOOR_REQUEST_ID:
		printf("%u", attr->v.u16);
		break;
	case BFCP_PRIORITY:
		printf("%d", attr->v.priority);
		break;
	case BFCP_REQUEST_STATUS:
		printf("%d/%u", attr->v.reqstatus.status, attr->v.reqstatus.qpos);
		break;
	case BFCP_ERROR_CODE:
		printf("%d", attr->v.errcode.code);
		for (i = 0; i < attr->v.errcode.len; i++)
			printf("/%u", attr->v.errcode.details[i]);
		break;
	case BFCP_ERROR_INFO:
	case BFCP_PART_PROV_INFO:
	case BFCP_STATUS_INFO:
	case BFCP_USER_DISP_NAME:
	case BFCP_USER_URI:
		printf("'%s'", attr->v.str);
		break;
	case BFCP_SUPPORTED_ATTRS:
		for (i = 0; i < attr->v.supattr.attrc; i++)
			printf("%s%d", i ? "," : "", attr->v.supattr.attrv[i]);
		break;
	case BFCP_SUPPORTED_PRIMS:
		for (i = 0; i < attr->v.supprim.primc; i++)
			printf("%s%d", i ? "," : "", attr->v.supprim.primv[i]);
		break;
	default:
		printf("%u(", attr->v.u16);
		print_attributes(&attr->attrl);
		printf(" )");
	}
}

static void print_attributes(const struct list *attributes)
{
	struct le *le;

	for (le = list_head(attributes); le; le = le->next)
		print_attribute(le->data);
}

static void print_message(const struct bfcp_msg *msg)
{
	printf("%u %d %d %u %u %u", msg->ver, msg->r, msg->prim, msg->confid, msg->tid, msg->userid);
	print_attributes(&msg->attrl);
	printf("\n");
	fflush(stdout);
}

static size_t read_hex(const char *line, struct mbuf *mb)
{
	unsigned octet;

	mbuf_reset(mb);
	while (sscanf(line, "%2x", &octet) == 1) {
		mbuf_write_u8(mb, octet);
		line += 2;
	}
	mbuf_set_pos(mb, 0);
	return mbuf_get_left(mb);
}

static void decode(void)
{
	static char line[1 << 20];
	struct mbuf *mb = mbuf_alloc(1024);

	while (fgets(line, sizeof line, stdin)) {
		struct bfcp_msg *msg = NULL;
		int err;

		read_hex(line, mb);
		err = bfcp_msg_decode(&msg, mb);
		if (err)
			printf("error %d\n", err);
		else
			print_message(msg);
		mem_deref(msg);
	}
	mem_deref(mb);
}

/* What libre writes */

static uint16_t floor_id = FLOOR, second_floor = 2, user_id = 154, request_id = 77, other_user = 234;
static enum bfcp_priority priority = BFCP_PRIO_HIGH;
static struct bfcp_reqstatus accepted = { BFCP_ACCEPTED, 3 }, pending = { BFCP_PENDING, 0 };
static struct bfcp_reqstatus granted = { BFCP_GRANTED, 0 };
static enum bfcp_prim primitives[] = { BFCP_FLOOR_REQUEST, BFCP_HELLO, BFCP_GOODBYE_ACK };
static enum bfcp_attrib attributes[] = { BFCP_BENEFICIARY_ID, BFCP_OVERALL_REQ_STATUS };
static struct bfcp_supprim supported_primitives = { primitives, 3 };
static struct bfcp_supattr supported_attributes = { attributes, 2 };
static uint8_t unknown[] = { 40, 42 };
static struct bfcp_errcode unknown_attributes = { BFCP_UNKNOWN_MAND_ATTR, unknown, 2 };

#define MAND(type) ((type) | BFCP_MANDATORY)
#define REQUEST_INFORMATION                                                                                       \
	MAND(BFCP_FLOOR_REQ_INFO), 7, &request_id,                                                                \
		MAND(BFCP_OVERALL_REQ_STATUS), 2, &request_id,                                                    \
			MAND(BFCP_REQUEST_STATUS), 0, &accepted,                                                  \
			MAND(BFCP_STATUS_INFO), 0, "two before you",                                              \
		MAND(BFCP_FLOOR_REQ_STATUS), 1, &floor_id, MAND(BFCP_REQUEST_STATUS), 0, &pending,                \
		MAND(BFCP_FLOOR_REQ_STATUS), 0, &second_floor,                                                    \
		MAND(BFCP_BENEFICIARY_INFO), 2, &user_id,                                                         \
			MAND(BFCP_USER_DISP_NAME), 0, "Carol", MAND(BFCP_USER_URI), 0, "sip:carol@x.example",     \
		MAND(BFCP_REQUESTED_BY_INFO), 0, &other_user,                                                     \
		MAND(BFCP_PRIORITY), 0, &priority,                                                                \
		MAND(BFCP_PART_PROV_INFO), 0, "a question"

static void print_octets(int err, const struct mbuf *mb, int prim)
{
	size_t i;

	if (err)
		die("encoding");
	printf("%d ", prim);
	for (i = 0; i < mb->end; i++)
		printf("%02x", mb->buf[i]);
	printf("\n");
}

static void encode(uint8_t ver)
{
	struct mbuf *mb = mbuf_alloc(1024);

#define WRITE(prim, response, ...)                                                                                \
	do {                                                                                                      \
		mbuf_reset(mb);                                                                                   \
		print_octets(bfcp_msg_encode(mb, ver, response, prim, 4000000001u, 9, 234, __VA_ARGS__), mb,      \
			     prim);                                                                               \
	} while (0)
	WRITE(BFCP_FLOOR_REQUEST, false, 5, MAND(BFCP_FLOOR_ID), 0, &floor_id, MAND(BFCP_FLOOR_ID), 0,
	      &second_floor, MAND(BFCP_BENEFICIARY_ID), 0, &user_id, MAND(BFCP_PART_PROV_INFO), 0, "a question",
	      MAND(BFCP_PRIORITY), 0, &priority);
	WRITE(BFCP_FLOOR_RELEASE, false, 1, MAND(BFCP_FLOOR_REQUEST_ID), 0, &request_id);
	WRITE(BFCP_FLOOR_REQUEST_QUERY, false, 1, MAND(BFCP_FLOOR_REQUEST_ID), 0, &request_id);
	WRITE(BFCP_FLOOR_REQUEST_STATUS, true, 1, REQUEST_INFORMATION);
	WRITE(BFCP_USER_QUERY, false, 1, MAND(BFCP_BENEFICIARY_ID), 0, &user_id);
	WRITE(BFCP_USER_STATUS, true, 2, MAND(BFCP_BENEFICIARY_INFO), 0, &user_id, REQUEST_INFORMATION);
	WRITE(BFCP_FLOOR_QUERY, false, 2, MAND(BFCP_FLOOR_ID), 0, &floor_id, MAND(BFCP_FLOOR_ID), 0,
	      &second_floor);
	WRITE(BFCP_FLOOR_STATUS, true, 3, MAND(BFCP_FLOOR_ID), 0, &floor_id, REQUEST_INFORMATION,
	      REQUEST_INFORMATION);
	WRITE(BFCP_CHAIR_ACTION, false, 1, REQUEST_INFORMATION);
	WRITE(BFCP_CHAIR_ACTION_ACK, true, 0);
	WRITE(BFCP_HELLO, false, 0);
	WRITE(BFCP_HELLO_ACK, true, 2, MAND(BFCP_SUPPORTED_PRIMS), 0, &supported_primitives,
	      MAND(BFCP_SUPPORTED_ATTRS), 0, &supported_attributes);
	WRITE(BFCP_ERROR, true, 2, MAND(BFCP_ERROR_CODE), 0, &unknown_attributes, MAND(BFCP_ERROR_INFO), 0,
	      "what is that");
	WRITE(BFCP_FLOOR_REQ_STATUS_ACK, true, 0);
	WRITE(BFCP_FLOOR_STATUS_ACK, true, 0);
	WRITE(BFCP_GOODBYE, false, 0);
	WRITE(BFCP_GOODBYE_ACK, true, 0);
	mem_deref(mb);
}

/* Over UDP, with libre's transactions */

static struct bfcp_conn *conn;
static struct sa peer;
static int stage;
static uint16_t mine;

static void next(void);

static const struct bfcp_attr *status_of(const struct bfcp_msg *msg)
{
	const struct bfcp_attr *info = bfcp_msg_attr(msg, BFCP_FLOOR_REQ_INFO);
	const struct bfcp_attr *overall = bfcp_attr_subattr(info, BFCP_OVERALL_REQ_STATUS);

	if (info)
		mine = info->v.floorreqid;
	return bfcp_attr_subattr(overall, BFCP_REQUEST_STATUS);
}

static void answered(int err, const struct bfcp_msg *msg, void *arg)
{
	(void)arg;
	if (err)
		die("no answer");
	printf("answer ");
	print_message(msg);
	status_of(msg);
	++stage;
	next();
}

static void client_heard(const struct bfcp_msg *msg, void *arg)
{
	(void)arg;
	printf("notice ");
	print_message(msg);
	switch (msg->prim) {
	case BFCP_FLOOR_REQUEST_STATUS: {
		const struct bfcp_attr *status = status_of(msg);

		bfcp_reply(conn, msg, BFCP_FLOOR_REQ_STATUS_ACK, 0);
		if (status && status->v.reqstatus.status == BFCP_GRANTED && stage == 3) {
			++stage;
			next();
		}
		break;
	}
	case BFCP_FLOOR_STATUS:
		bfcp_reply(conn, msg, BFCP_FLOOR_STATUS_ACK, 0);
		break;
	default:
		break;
	}
}

static void next(void)
{
	int err = 0;

	switch (stage) {
	case 0:
		err = bfcp_request(conn, &peer, BFCP_VER2, BFCP_HELLO, CONFERENCE, USER, answered, NULL, 0);
		break;
	case 1:
		err = bfcp_request(conn, &peer, BFCP_VER2, BFCP_FLOOR_QUERY, CONFERENCE, USER, answered, NULL, 1,
				   MAND(BFCP_FLOOR_ID), 0, &floor_id);
		break;
	case 2:
		err = bfcp_request(conn, &peer, BFCP_VER2, BFCP_FLOOR_REQUEST, CONFERENCE, USER, answered, NULL, 2,
				   MAND(BFCP_FLOOR_ID), 0, &floor_id, MAND(BFCP_PART_PROV_INFO), 0, "a question");
		break;
	case 3: /* until it is granted */
		break;
	case 4:
		err = bfcp_request(conn, &peer, BFCP_VER2, BFCP_FLOOR_RELEASE, CONFERENCE, USER, answered, NULL, 1,
				   MAND(BFCP_FLOOR_REQUEST_ID), 0, &mine);
		break;
	case 5:
		err = bfcp_request(conn, &peer, BFCP_VER2, BFCP_GOODBYE, CONFERENCE, USER, answered, NULL, 0);
		break;
	default:
		re_cancel();
	}
	if (err)
		die("asking");
}

static bool granted_once;

/* Accepts a request, grants it with the next query, and so on: enough for a client to be tried. */
static void server_heard(const struct bfcp_msg *msg, void *arg)
{
	(void)arg;
	printf("heard ");
	print_message(msg);
	peer = msg->src;
	switch (msg->prim) {
	case BFCP_HELLO:
		bfcp_reply(conn, msg, BFCP_HELLO_ACK, 2, MAND(BFCP_SUPPORTED_PRIMS), 0, &supported_primitives,
			   MAND(BFCP_SUPPORTED_ATTRS), 0, &supported_attributes);
		break;
	case BFCP_FLOOR_REQUEST:
		bfcp_reply(conn, msg, BFCP_FLOOR_REQUEST_STATUS, 1, MAND(BFCP_FLOOR_REQ_INFO), 2, &request_id,
			   MAND(BFCP_OVERALL_REQ_STATUS), 1, &request_id, MAND(BFCP_REQUEST_STATUS), 0, &pending,
			   MAND(BFCP_FLOOR_REQ_STATUS), 0, &floor_id);
		bfcp_notify(conn, &peer, BFCP_VER2, BFCP_FLOOR_REQUEST_STATUS, msg->confid, msg->userid, 1,
			    MAND(BFCP_FLOOR_REQ_INFO), 2, &request_id, MAND(BFCP_OVERALL_REQ_STATUS), 1,
			    &request_id, MAND(BFCP_REQUEST_STATUS), 0, &granted, MAND(BFCP_FLOOR_REQ_STATUS), 0,
			    &floor_id);
		granted_once = true;
		break;
	case BFCP_FLOOR_RELEASE:
		bfcp_ereply(conn, msg, granted_once ? BFCP_FLOOR_REQ_ID_NOT_EXIST : BFCP_GENERIC_ERROR);
		break;
	case BFCP_GOODBYE:
		bfcp_reply(conn, msg, BFCP_GOODBYE_ACK, 0);
		re_cancel();
		break;
	default:
		bfcp_ereply(conn, msg, BFCP_UNKNOWN_PRIM);
	}
}

static void late(void *arg)
{
	(void)arg;
	die("nothing more was heard");
}

static void over_udp(bool client, int port)
{
	struct sa local;
	struct tmr tmr;

	sa_set_str(&local, "127.0.0.1", 0);
	sa_set_str(&peer, "127.0.0.1", port);
	if (bfcp_listen(&conn, BFCP_UDP, &local, NULL, client ? client_heard : server_heard, NULL))
		die("listening");
	udp_local_get(bfcp_sock(conn), &local);
	printf("port %u\n", sa_port(&local));
	fflush(stdout);
	tmr_init(&tmr);
	tmr_start(&tmr, 30000, late, NULL);
	if (client)
		next();
	re_main(NULL);
	tmr_cancel(&tmr);
	mem_deref(conn);
	printf("done\n");
}

/* Over TCP and TLS, with libre's messages */

static int sock = -1;
static SSL *ssl;

static unsigned key_of(unsigned char *psk, unsigned most)
{
	const char *hex = getenv("PSK_KEY");
	unsigned octet, len = 0;

	while (hex && len < most && sscanf(hex, "%2x", &octet) == 1) {
		psk[len++] = octet;
		hex += 2;
	}
	return len;
}

static unsigned client_key(SSL *s, const char *hint, char *identity, unsigned room, unsigned char *psk, unsigned most)
{
	(void)s;
	(void)hint;
	snprintf(identity, room, "%s", getenv("PSK_IDENTITY"));
	return key_of(psk, most);
}

static unsigned server_key(SSL *s, const char *identity, unsigned char *psk, unsigned most)
{
	(void)s;
	return strcmp(identity, getenv("PSK_IDENTITY")) ? 0 : key_of(psk, most);
}

static void start_tls(bool client)
{
	SSL_CTX *ctx = SSL_CTX_new(client ? TLS_client_method() : TLS_server_method());

	SSL_CTX_set_psk_client_callback(ctx, client_key);
	SSL_CTX_set_psk_server_callback(ctx, server_key);
	SSL_CTX_set_cipher_list(ctx, "PSK");
	SSL_CTX_set_ciphersuites(ctx, "TLS_AES_128_GCM_SHA256");
	ssl = SSL_new(ctx);
	SSL_set_fd(ssl, sock);
	if ((client ? SSL_connect(ssl) : SSL_accept(ssl)) != 1)
		die("TLS");
	printf("sealed %s %s\n", SSL_get_version(ssl), SSL_get_cipher(ssl));
}

static void put(const struct mbuf *mb)
{
	size_t at = 0;

	while (at < mb->end) {
		int n = ssl ? SSL_write(ssl, mb->buf + at, mb->end - at) : (int)send(sock, mb->buf + at, mb->end - at, 0);

		if (n <= 0)
			die("sending");
		at += n;
	}
}

/* The next message of the stream; NULL at its end. */
static struct bfcp_msg *get(struct mbuf *mb)
{
	struct bfcp_msg *msg;
	size_t want = 12;

	mbuf_reset(mb);
	mbuf_resize(mb, 1 << 16);
	while (mb->end < want) {
		int n = ssl ? SSL_read(ssl, mb->buf + mb->end, want - mb->end)
			    : (int)recv(sock, mb->buf + mb->end, want - mb->end, 0);

		if (n <= 0)
			return NULL;
		mb->end += n;
		if (mb->end == 12)
			want = 12 + 4 * (mb->buf[2] << 8 | mb->buf[3]);
	}
	mb->pos = 0;
	if (bfcp_msg_decode(&msg, mb))
		die("decoding");
	return msg;
}

static uint16_t tid;

#define SEND(mb, prim, ...)                                                                                       \
	do {                                                                                                      \
		mbuf_reset(mb);                                                                                   \
		if (bfcp_msg_encode(mb, BFCP_VER1, false, prim, CONFERENCE, ++tid, USER, __VA_ARGS__))            \
			die("encoding");                                                                          \
		put(mb);                                                                                          \
	} while (0)
#define ANSWER(mb, to, prim, number, ...)                                                                         \
	do {                                                                                                      \
		mbuf_reset(mb);                                                                                   \
		if (bfcp_msg_encode(mb, BFCP_VER1, false, prim, (to)->confid, number, (to)->userid, __VA_ARGS__)) \
			die("encoding");                                                                          \
		put(mb);                                                                                          \
	} while (0)

/* Reads until the answer to the last request is there, and, if asked to, a notice that it is granted. */
static void await(struct mbuf *mb, bool grant)
{
	bool answer = false, have = !grant;

	while (!answer || !have) {
		struct bfcp_msg *msg = get(mb);
		const struct bfcp_attr *status;

		if (!msg)
			die("the stream ended");
		printf(msg->tid ? "answer " : "notice ");
		print_message(msg);
		answer = answer || (msg->tid == tid && msg->confid == CONFERENCE && msg->userid == USER);
		status = msg->prim == BFCP_FLOOR_REQUEST_STATUS ? status_of(msg) : NULL;
		have = have || (status && status->v.reqstatus.status == BFCP_GRANTED);
		mem_deref(msg);
	}
}

static void stream_client(bool tls, int port)
{
	struct sockaddr_in to = { .sin_family = AF_INET, .sin_port = htons(port) };
	struct mbuf *mb = mbuf_alloc(1 << 16);

	to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	sock = socket(AF_INET, SOCK_STREAM, 0);
	if (connect(sock, (struct sockaddr *)&to, sizeof to))
		die("connecting");
	if (tls)
		start_tls(true);
	SEND(mb, BFCP_HELLO, 0);
	await(mb, false);
	SEND(mb, BFCP_FLOOR_QUERY, 1, MAND(BFCP_FLOOR_ID), 0, &floor_id);
	await(mb, false);
	SEND(mb, BFCP_FLOOR_REQUEST, 2, MAND(BFCP_FLOOR_ID), 0, &floor_id, MAND(BFCP_PART_PROV_INFO), 0,
	     "a question");
	await(mb, true);
	SEND(mb, BFCP_FLOOR_RELEASE, 1, MAND(BFCP_FLOOR_REQUEST_ID), 0, &mine);
	await(mb, false);
	if (ssl)
		SSL_shutdown(ssl);
	shutdown(sock, SHUT_RDWR);
	printf("done\n");
	mem_deref(mb);
}

static int listening(void)
{
	struct sockaddr_in at = { .sin_family = AF_INET };
	socklen_t len = sizeof at;
	int one = 1, fd = socket(AF_INET, SOCK_STREAM, 0);

	at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	if (bind(fd, (struct sockaddr *)&at, sizeof at) || listen(fd, 1) ||
	    getsockname(fd, (struct sockaddr *)&at, &len))
		die("listening");
	printf("port %u\n", ntohs(at.sin_port));
	fflush(stdout);
	sock = accept(fd, NULL, NULL);
	setsockopt(sock, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
	return fd;
}

static void stream_server(bool tls, bool quiet)
{
	struct mbuf *mb = mbuf_alloc(1 << 16);
	struct bfcp_msg *msg;
	struct bfcp_reqstatus released = { BFCP_RELEASED, 0 };

	listening();
	if (tls)
		start_tls(false);
	while ((msg = get(mb))) {
		if (!quiet) {
			printf("heard ");
			print_message(msg);
		}
		switch (msg->prim) {
		case BFCP_HELLO:
			ANSWER(mb, msg, BFCP_HELLO_ACK, msg->tid, 2, MAND(BFCP_SUPPORTED_PRIMS), 0,
			       &supported_primitives, MAND(BFCP_SUPPORTED_ATTRS), 0, &supported_attributes);
			break;
		case BFCP_FLOOR_REQUEST:
			if (quiet) {
				ANSWER(mb, msg, BFCP_FLOOR_REQUEST_STATUS, msg->tid, 1, MAND(BFCP_FLOOR_REQ_INFO), 2,
				       &request_id, MAND(BFCP_OVERALL_REQ_STATUS), 1, &request_id,
				       MAND(BFCP_REQUEST_STATUS), 0, &granted, MAND(BFCP_FLOOR_REQ_STATUS), 1,
				       &floor_id, MAND(BFCP_REQUEST_STATUS), 0, &granted);
				break;
			}
			ANSWER(mb, msg, BFCP_FLOOR_REQUEST_STATUS, msg->tid, 1, REQUEST_INFORMATION);
			ANSWER(mb, msg, BFCP_FLOOR_REQUEST_STATUS, 0, 1, MAND(BFCP_FLOOR_REQ_INFO), 2, &request_id,
			       MAND(BFCP_OVERALL_REQ_STATUS), 1, &request_id, MAND(BFCP_REQUEST_STATUS), 0, &granted,
			       MAND(BFCP_FLOOR_REQ_STATUS), 0, &floor_id);
			break;
		case BFCP_FLOOR_QUERY:
			ANSWER(mb, msg, BFCP_FLOOR_STATUS, msg->tid, 2, MAND(BFCP_FLOOR_ID), 0, &floor_id,
			       REQUEST_INFORMATION);
			break;
		case BFCP_CHAIR_ACTION:
			ANSWER(mb, msg, BFCP_CHAIR_ACTION_ACK, msg->tid, 0);
			break;
		case BFCP_FLOOR_RELEASE:
			ANSWER(mb, msg, BFCP_FLOOR_REQUEST_STATUS, msg->tid, 1, MAND(BFCP_FLOOR_REQ_INFO), 2,
			       &request_id, MAND(BFCP_OVERALL_REQ_STATUS), 1, &request_id, MAND(BFCP_REQUEST_STATUS),
			       0, &released, MAND(BFCP_FLOOR_REQ_STATUS), 1, &floor_id, MAND(BFCP_REQUEST_STATUS), 0,
			       &released);
			break;
		default:
			ANSWER(mb, msg, BFCP_ERROR, msg->tid, 1, MAND(BFCP_ERROR_CODE), 0, &unknown_attributes);
		}
		mem_deref(msg);
		mbuf_reset(mb);
	}
	if (!quiet)
		printf("done\n");
	mem_deref(mb);
}

/* Measured */

static double now(clockid_t clock)
{
	struct timespec t;

	clock_gettime(clock, &t);
	return t.tv_sec * 1e9 + t.tv_nsec;
}

static void measure(long count)
{
	static char line[1 << 16];
	struct mbuf *mb = mbuf_alloc(1024), *out = mbuf_alloc(1024);
	double began;
	long i;

	if (!fgets(line, sizeof line, stdin))
		die("no message");
	read_hex(line, mb);
	began = now(CLOCK_PROCESS_CPUTIME_ID);
	for (i = 0; i < count; i++) {
		struct bfcp_msg *msg;

		mb->pos = 0;
		if (bfcp_msg_decode(&msg, mb))
			die("decoding");
		mem_deref(msg);
	}
	printf("%.1f ", (now(CLOCK_PROCESS_CPUTIME_ID) - began) / count);
	began = now(CLOCK_PROCESS_CPUTIME_ID);
	for (i = 0; i < count; i++) {
		mbuf_reset(out);
		if (bfcp_msg_encode(out, BFCP_VER1, false, BFCP_FLOOR_REQUEST_STATUS, CONFERENCE, 9, 234, 1,
				    REQUEST_INFORMATION))
			die("encoding");
	}
	printf("%.1f\n", (now(CLOCK_PROCESS_CPUTIME_ID) - began) / count);
	mem_deref(mb);
	mem_deref(out);
}

static void load(int port, long count)
{
	struct sockaddr_in to = { .sin_family = AF_INET, .sin_port = htons(port) };
	struct mbuf *mb = mbuf_alloc(1 << 16);
	struct bfcp_msg *msg;
	double began;
	int one = 1;
	long i;

	to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	sock = socket(AF_INET, SOCK_STREAM, 0);
	setsockopt(sock, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
	if (connect(sock, (struct sockaddr *)&to, sizeof to))
		die("connecting");
	began = now(CLOCK_MONOTONIC);
	for (i = 0; i < count; i++) {
		SEND(mb, BFCP_FLOOR_REQUEST, 1, MAND(BFCP_FLOOR_ID), 0, &floor_id);
		if (!(msg = get(mb)) || msg->prim != BFCP_FLOOR_REQUEST_STATUS)
			die("no answer");
		status_of(msg);
		mem_deref(msg);
		SEND(mb, BFCP_FLOOR_RELEASE, 1, MAND(BFCP_FLOOR_REQUEST_ID), 0, &mine);
		if (!(msg = get(mb)) || msg->prim != BFCP_FLOOR_REQUEST_STATUS)
			die("no answer");
		mem_deref(msg);
	}
	printf("%.1f\n", (now(CLOCK_MONOTONIC) - began) / count);
	mem_deref(mb);
}

int main(int argc, char **argv)
{
	const char *what = argc > 1 ? argv[1] : "";
	const char *over = argc > 2 ? argv[2] : "";
	int port = argc > 3 ? atoi(argv[3]) : 0;

	if (libre_init())
		die("libre");
	if (!strcmp(what, "decode"))
		decode();
	else if (!strcmp(what, "encode"))
		encode(atoi(over));
	else if (!strcmp(what, "time"))
		measure(atol(over));
	else if (!strcmp(what, "load"))
		load(atoi(over), argc > 3 ? atol(argv[3]) : 1);
	else if (!strcmp(what, "idle"))
		stream_server(false, true);
	else if (!strcmp(what, "client") && !strcmp(over, "udp"))
		over_udp(true, port);
	else if (!strcmp(what, "client"))
		stream_client(!strcmp(over, "tls"), port);
	else if (!strcmp(what, "server") && !strcmp(over, "udp"))
		over_udp(false, 0);
	else if (!strcmp(what, "server"))
		stream_server(!strcmp(over, "tls"), false);
	else
		die("what is that?");
	fflush(stdout);
	libre_close();
	return 0;
}
