# cython: language_level=3, boundscheck=False, wraparound=False
"""The compiled twin of `_keys_py`, which defines the bytes: the same keys, five to thirty times as fast.

What is frequent (built-in types, prefixes and entities of safe ASCII, few fields) is done here, from the argument to
the finished str, without an object in between. Everything else, every error included, is handed to `_keys_py`, so
that there is one place for it.

The message of a key is never assembled: its parts are absorbed by a BLAKE2s state (RFC 7693), whose buffer holds one
block. A maker keeps the state after its constant head and copies it for each key; make_key does so for the heads it saw
last. A batch whose messages end within the block that the head left open compresses eight of them at once, one in
each vector lane, where the compiler has vector extensions (GCC, Clang); elsewhere one after the other.

Tried and not worth it: one message in vector registers row by row (SSE2, AVX2 or AVX-512: 10 to 27 % slower than
words).
"""

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from cpython.mem cimport PyMem_Calloc, PyMem_Free
from cpython.object cimport PyObject
from cpython.ref cimport Py_DECREF, Py_INCREF
from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.string cimport memcmp, memcpy, memset

from uuid import UUID

from cachecore import _keys_py
from cachecore._keys_py import (
    check_batch,
    check_names,
    check_row,
    check_secret,
    encode,
    head,
    maker_repr,
    readable_identity,
    remake,
    sorted_names,
    wrong_count,
)
from cachecore.errors import InvalidKey

cdef extern from *:
    """
    #include <stdint.h>
    #include <string.h>
    #include <structmember.h>
    #ifdef __SSE2__
    #include <emmintrin.h>
    #endif

    /* BLAKE2s, written from RFC 7693: section 3.1 (mixing G), 3.2 (compression F), 3.3 (padding, key block). */

    typedef struct {
        uint32_t h[8];
        uint64_t t;        /* bytes compressed so far */
        size_t used;       /* bytes in block, zeros after them; compressed only when more data follow */
        uint8_t block[64];
    } b2s;

    static const uint32_t B2S_IV[8] = {
        0x6A09E667U, 0xBB67AE85U, 0x3C6EF372U, 0xA54FF53AU, 0x510E527FU, 0x9B05688CU, 0x1F83D9ABU, 0x5BE0CD19U
    };

    #define B2S_ROTR(x, n) (((x) >> (n)) | ((x) << (32 - (n))))

    /* Half of G; b is added last because it is ready last. */
    #define B2S_H(a, b, c, d, x, r, q) \\
        a = a + (x) + b; d = d ^ a; d = B2S_ROTR(d, r); c = c + d; b = b ^ c; b = B2S_ROTR(b, q);

    /* Vectors: one G after the other, which keeps the fewest registers alive. */
    #define B2S_G(a, b, c, d, x, y) B2S_H(a, b, c, d, x, 16, 12) B2S_H(a, b, c, d, y, 8, 7)
    #define B2S_ROUND(s0, s1, s2, s3, s4, s5, s6, s7, s8, s9, s10, s11, s12, s13, s14, s15) \\
        B2S_G(v0, v4, v8,  v12, m[s0],  m[s1])  B2S_G(v1, v5, v9,  v13, m[s2],  m[s3]) \\
        B2S_G(v2, v6, v10, v14, m[s4],  m[s5])  B2S_G(v3, v7, v11, v15, m[s6],  m[s7]) \\
        B2S_G(v0, v5, v10, v15, m[s8],  m[s9])  B2S_G(v1, v6, v11, v12, m[s10], m[s11]) \\
        B2S_G(v2, v7, v8,  v13, m[s12], m[s13]) B2S_G(v3, v4, v9,  v14, m[s14], m[s15])

    /* Words: four independent G step by step, which gcc does not find by itself (12 % faster). */
    #define B2S_4H(a0, b0, c0, d0, a1, b1, c1, d1, a2, b2, c2, d2, a3, b3, c3, d3, x0, x1, x2, x3, r, q) \\
        a0 = a0 + (x0) + b0; a1 = a1 + (x1) + b1; a2 = a2 + (x2) + b2; a3 = a3 + (x3) + b3; \\
        d0 ^= a0; d1 ^= a1; d2 ^= a2; d3 ^= a3; \\
        d0 = B2S_ROTR(d0, r); d1 = B2S_ROTR(d1, r); d2 = B2S_ROTR(d2, r); d3 = B2S_ROTR(d3, r); \\
        c0 += d0; c1 += d1; c2 += d2; c3 += d3; \\
        b0 ^= c0; b1 ^= c1; b2 ^= c2; b3 ^= c3; \\
        b0 = B2S_ROTR(b0, q); b1 = B2S_ROTR(b1, q); b2 = B2S_ROTR(b2, q); b3 = B2S_ROTR(b3, q);
    #define B2S_COLUMNS v0, v4, v8, v12, v1, v5, v9, v13, v2, v6, v10, v14, v3, v7, v11, v15
    #define B2S_DIAGONALS v0, v5, v10, v15, v1, v6, v11, v12, v2, v7, v8, v13, v3, v4, v9, v14
    #define B2S_4H_(...) B2S_4H(__VA_ARGS__)
    #define B2S_ROUND_OF_WORDS(s0, s1, s2, s3, s4, s5, s6, s7, s8, s9, s10, s11, s12, s13, s14, s15) \\
        B2S_4H_(B2S_COLUMNS, m[s0], m[s2], m[s4], m[s6], 16, 12) \\
        B2S_4H_(B2S_COLUMNS, m[s1], m[s3], m[s5], m[s7], 8, 7) \\
        B2S_4H_(B2S_DIAGONALS, m[s8], m[s10], m[s12], m[s14], 16, 12) \\
        B2S_4H_(B2S_DIAGONALS, m[s9], m[s11], m[s13], m[s15], 8, 7)

    /* The message schedule SIGMA, with ROUND for each of its rows. Works on v0..v15 and m[16]. */
    #define B2S_TEN_ROUNDS(ROUND) \\
        ROUND( 0,  1,  2,  3,  4,  5,  6,  7,  8,  9, 10, 11, 12, 13, 14, 15) \\
        ROUND(14, 10,  4,  8,  9, 15, 13,  6,  1, 12,  0,  2, 11,  7,  5,  3) \\
        ROUND(11,  8, 12,  0,  5,  2, 15, 13, 10, 14,  3,  6,  7,  1,  9,  4) \\
        ROUND( 7,  9,  3,  1, 13, 12, 11, 14,  2,  6,  5, 10,  4,  0, 15,  8) \\
        ROUND( 9,  0,  5,  7,  2,  4, 10, 15, 14,  1, 11, 12,  6,  8,  3, 13) \\
        ROUND( 2, 12,  6, 10,  0, 11,  8,  3,  4, 13,  7,  5, 15, 14,  1,  9) \\
        ROUND(12,  5,  1, 15, 14, 13,  4, 10,  0,  7,  6,  3,  9,  2,  8, 11) \\
        ROUND(13, 11,  7, 14, 12,  1,  3,  9,  5,  0, 15,  4,  8,  6,  2, 10) \\
        ROUND( 6, 15, 14,  9, 11,  3,  0,  8, 12,  2, 13,  7,  1,  4, 10,  5) \\
        ROUND(10,  2,  8,  4,  7,  6,  1,  5, 15, 11,  9, 14,  3, 12, 13,  0)

    static inline uint32_t b2s_load(const uint8_t *p) {
        return (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
    }

    static void b2s_compress(b2s *s, const uint8_t *block, int last) {
        uint32_t m[16];
        uint32_t v0 = s->h[0], v1 = s->h[1], v2 = s->h[2], v3 = s->h[3];
        uint32_t v4 = s->h[4], v5 = s->h[5], v6 = s->h[6], v7 = s->h[7];
        uint32_t v8 = B2S_IV[0], v9 = B2S_IV[1], v10 = B2S_IV[2], v11 = B2S_IV[3];
        uint32_t v12 = B2S_IV[4] ^ (uint32_t)s->t, v13 = B2S_IV[5] ^ (uint32_t)(s->t >> 32);
        uint32_t v14 = last ? ~B2S_IV[6] : B2S_IV[6], v15 = B2S_IV[7];
        int i;
        for (i = 0; i < 16; i++) m[i] = b2s_load(block + 4 * i);
        B2S_TEN_ROUNDS(B2S_ROUND_OF_WORDS)
        s->h[0] ^= v0 ^ v8;  s->h[1] ^= v1 ^ v9;  s->h[2] ^= v2 ^ v10; s->h[3] ^= v3 ^ v11;
        s->h[4] ^= v4 ^ v12; s->h[5] ^= v5 ^ v13; s->h[6] ^= v6 ^ v14; s->h[7] ^= v7 ^ v15;
    }

    /* digest_size 1 to 32; key_size 0 to 32. */
    static void b2s_init(b2s *s, size_t digest_size, const void *key, size_t key_size) {
        memcpy(s->h, B2S_IV, sizeof s->h);
        s->h[0] ^= 0x01010000U ^ (uint32_t)key_size << 8 ^ (uint32_t)digest_size;
        s->t = 0;
        s->used = 0;
        memset(s->block, 0, sizeof s->block);
        if (key_size) {
            memcpy(s->block, key, key_size);
            s->used = 64;
        }
    }

    static void b2s_update(b2s *s, const void *data, size_t size) {
        const uint8_t *from = (const uint8_t *)data;
        size_t room = 64 - s->used;
        if (size > room) {
            memcpy(s->block + s->used, from, room);
            s->t += 64;
            b2s_compress(s, s->block, 0);
            from += room;
            size -= room;
            for (; size > 64; from += 64, size -= 64) {
                s->t += 64;
                b2s_compress(s, from, 0);
            }
            s->used = 0;
            memset(s->block + size, 0, 64 - size);
        }
        memcpy(s->block + s->used, from, size);
        s->used += size;
    }

    static inline void b2s_end(b2s *s) {
        s->t += s->used;
        b2s_compress(s, s->block, 1);
    }

    /* All 32 bytes; the caller takes as many as it gave b2s_init. */
    static void b2s_final(b2s *s, uint8_t *out) {
        int i;
        b2s_end(s);
        for (i = 0; i < 32; i++) out[i] = (uint8_t)(s->h[i / 4] >> 8 * (i % 4));
    }

    /* Eight messages at once: all share the state s, and each ends within the block that is open there. */

    #define B2S_LANES 8

    typedef struct {
        uint32_t words[16][B2S_LANES];   /* word i of each message's block */
        uint32_t ends[B2S_LANES];        /* the length of each message */
        uint32_t digests[4][B2S_LANES];
    } b2s_batch;

    /* The words that all messages have in common, since their state was begun by s. */
    static void b2s_put_head(b2s_batch *batch, const b2s *s) {
        size_t lane, i;
        memset(batch, 0, sizeof *batch);
        for (i = 0; i < s->used / 4; i++)
            for (lane = 0; lane < B2S_LANES; lane++) batch->words[i][lane] = b2s_load(s->block + 4 * i);
    }

    static inline void b2s_put(b2s_batch *batch, int lane, const b2s *s, size_t head) {
        size_t i;
        for (i = head / 4; i < 16; i++) batch->words[i][lane] = b2s_load(s->block + 4 * i);
        batch->ends[lane] = (uint32_t)(s->t + s->used);
    }

    #if defined(__GNUC__) && !defined(CACHECORE_NO_LANES)
    #define B2S_HAVE_LANES 1
    typedef uint32_t b2s_vec __attribute__((vector_size(4 * B2S_LANES)));

    /* Always inlined, so that the same lines are compiled once for each instruction set. */
    static inline __attribute__((always_inline)) void b2s_lanes_body(const b2s *s, b2s_batch *batch) {
        const b2s_vec zero = {0};
        b2s_vec m[16], ends;
        b2s_vec v0 = zero + s->h[0], v1 = zero + s->h[1], v2 = zero + s->h[2], v3 = zero + s->h[3];
        b2s_vec v4 = zero + s->h[4], v5 = zero + s->h[5], v6 = zero + s->h[6], v7 = zero + s->h[7];
        b2s_vec v8 = zero + B2S_IV[0], v9 = zero + B2S_IV[1], v10 = zero + B2S_IV[2], v11 = zero + B2S_IV[3];
        b2s_vec v12 = zero + B2S_IV[4], v13 = zero + B2S_IV[5], v14 = zero + ~B2S_IV[6], v15 = zero + B2S_IV[7];
        memcpy(m, batch->words, sizeof m);
        memcpy(&ends, batch->ends, sizeof ends);
        v12 = v12 ^ ends;
        B2S_TEN_ROUNDS(B2S_ROUND)
        v0 = v0 ^ v8 ^ s->h[0];
        v1 = v1 ^ v9 ^ s->h[1];
        v2 = v2 ^ v10 ^ s->h[2];
        v3 = v3 ^ v11 ^ s->h[3];
        memcpy(batch->digests[0], &v0, sizeof v0);
        memcpy(batch->digests[1], &v1, sizeof v1);
        memcpy(batch->digests[2], &v2, sizeof v2);
        memcpy(batch->digests[3], &v3, sizeof v3);
    }

    static void b2s_lanes_generic(const b2s *s, b2s_batch *batch) { b2s_lanes_body(s, batch); }

    #if defined(__x86_64__)
    #define B2S_HAVE_AVX2 1
    __attribute__((target("avx2"))) static void b2s_lanes_avx2(const b2s *s, b2s_batch *batch) {
        b2s_lanes_body(s, batch);
    }
    /* The same width, but it rotates in one instruction, which is a third of what there is to do. */
    __attribute__((target("avx512f,avx512vl")))
    static void b2s_lanes_avx512(const b2s *s, b2s_batch *batch) {
        b2s_lanes_body(s, batch);
    }
    #endif
    #endif

    static void b2s_lanes_scalar(const b2s *s, b2s_batch *batch) {
        int lane, i, j;
        for (lane = 0; lane < B2S_LANES; lane++) {
            b2s one = *s;
            for (i = 0; i < 16; i++)
                for (j = 0; j < 4; j++) one.block[4 * i + j] = (uint8_t)(batch->words[i][lane] >> 8 * j);
            one.t = batch->ends[lane];
            b2s_compress(&one, one.block, 1);
            for (i = 0; i < 4; i++) batch->digests[i][lane] = one.h[i];
        }
    }

    typedef void (*b2s_kernel)(const b2s *, b2s_batch *);

    /* 0: one after the other; 1: the compiler's vectors; 2: with AVX2; 3: with AVX-512. NULL: not on this machine. */
    static b2s_kernel b2s_find_kernel(int which) {
        switch (which) {
        case 0: return b2s_lanes_scalar;
    #ifdef B2S_HAVE_LANES
        case 1: return b2s_lanes_generic;
    #endif
    #ifdef B2S_HAVE_AVX2
        case 2: __builtin_cpu_init(); return __builtin_cpu_supports("avx2") ? b2s_lanes_avx2 : NULL;
        case 3: __builtin_cpu_init(); return __builtin_cpu_supports("avx512vl") ? b2s_lanes_avx512 : NULL;
    #endif
        default: return NULL;
        }
    }

    /* Messages: a part is a tag, a length in LEB128 and the payload. */

    static void b2s_header(b2s *s, uint8_t tag, size_t length) {
        uint8_t header[12];
        size_t size = 1;
        header[0] = tag;
        for (; length > 127; length >>= 7) header[size++] = (uint8_t)(length | 128);
        header[size++] = (uint8_t)length;
        b2s_update(s, header, size);
    }

    /* memcpy of a size only known at run time is a call; most parts are shorter than that is worth. */
    static inline void b2s_copy(void *to, const void *from, size_t size) {
        char *t = (char *)to;
        const char *f = (const char *)from;
        uint64_t first, last;
        uint32_t head, tail;
        if (size > 16) {
            memcpy(t, f, size);
        } else if (size >= 8) {
            memcpy(&first, f, 8);
            memcpy(&last, f + size - 8, 8);
            memcpy(t, &first, 8);
            memcpy(t + size - 8, &last, 8);
        } else if (size >= 4) {
            memcpy(&head, f, 4);
            memcpy(&tail, f + size - 4, 4);
            memcpy(t, &head, 4);
            memcpy(t + size - 4, &tail, 4);
        } else if (size) {
            t[0] = f[0];
            t[size / 2] = f[size / 2];
            t[size - 1] = f[size - 1];
        }
    }

    static inline void b2s_part(b2s *s, uint8_t tag, const void *data, size_t size) {
        if (size + 2 <= 64 - s->used) {
            uint8_t *to = s->block + s->used;
            to[0] = tag;
            to[1] = (uint8_t)size;
            b2s_copy(to + 2, data, size);
            s->used += size + 2;
        } else {
            b2s_header(s, tag, size);
            b2s_update(s, data, size);
        }
    }

    /* Two's complement, high byte first: as int.to_bytes((bit_length + 8) // 8, "big", signed=True). */
    static inline void b2s_int(b2s *s, long long value) {
        uint64_t bits = (uint64_t)value, magnitude = value < 0 ? 0 - bits : bits;
        uint8_t payload[16];
        size_t size = 1, i;
        while (size < 9 && magnitude >> (8 * size - 1)) size++;
        for (i = 0; i < size; i++) {
            size_t shift = 8 * (size - 1 - i);
            payload[i] = shift < 64 ? (uint8_t)(bits >> shift) : (value < 0 ? 255 : 0);
        }
        b2s_part(s, 'i', payload, size & 15);   /* at most 9; the mask lets the compiler see it */
    }

    /* IEEE 754, high byte first; not for NaN. */
    static inline void b2s_double(b2s *s, double value) {
        uint8_t payload[8];
        uint64_t bits;
        int i;
        memcpy(&bits, &value, 8);
        if (!(bits << 1)) bits = 0;   /* -0.0 */
        for (i = 0; i < 8; i++) payload[i] = (uint8_t)(bits >> (56 - 8 * i));
        b2s_part(s, 'f', payload, 8);
    }

    static char keys_pairs[512];   /* the two hexadecimal digits of each byte */

    static void keys_fill_pairs(void) {
        int i;
        for (i = 0; i < 256; i++) {
            keys_pairs[2 * i] = "0123456789abcdef"[i >> 4];
            keys_pairs[2 * i + 1] = "0123456789abcdef"[i & 15];
        }
    }

    #ifdef __SSE2__
    static inline void keys_hex_16(char *to, const uint8_t *bytes) {
        const __m128i low = _mm_set1_epi8(15), nine = _mm_set1_epi8(9), digit = _mm_set1_epi8('0');
        const __m128i letter = _mm_set1_epi8('a' - '0' - 10);
        __m128i all = _mm_loadu_si128((const __m128i *)bytes);
        __m128i first = _mm_and_si128(_mm_srli_epi16(all, 4), low), second = _mm_and_si128(all, low);
        first = _mm_add_epi8(_mm_add_epi8(first, digit), _mm_and_si128(_mm_cmpgt_epi8(first, nine), letter));
        second = _mm_add_epi8(_mm_add_epi8(second, digit), _mm_and_si128(_mm_cmpgt_epi8(second, nine), letter));
        _mm_storeu_si128((__m128i *)to, _mm_unpacklo_epi8(first, second));
        _mm_storeu_si128((__m128i *)(to + 16), _mm_unpackhi_epi8(first, second));
    }
    #else
    static inline void keys_hex_16(char *to, const uint8_t *bytes) {
        int i;
        for (i = 0; i < 16; i++) memcpy(to + 2 * i, keys_pairs + 2 * bytes[i], 2);
    }
    #endif

    /* The digest of 16 bytes as 32 hexadecimal digits. */
    static inline void keys_hex_digest(char *to, uint32_t h0, uint32_t h1, uint32_t h2, uint32_t h3) {
        uint32_t h[4] = {h0, h1, h2, h3};
        uint8_t bytes[16];
        int i;
        for (i = 0; i < 16; i++) bytes[i] = (uint8_t)(h[i / 4] >> 8 * (i % 4));
        keys_hex_16(to, bytes);
    }

    static void keys_digest(b2s *s, char *to) {
        b2s_end(s);
        keys_hex_digest(to, s->h[0], s->h[1], s->h[2], s->h[3]);
    }

    static void keys_lane_digests(const b2s_batch *batch, int count, char **to) {
        int i;
        for (i = 0; i < count; i++) {
            keys_hex_digest(to[i], batch->digests[0][i], batch->digests[1][i], batch->digests[2][i],
                            batch->digests[3][i]);
        }
    }

    /* The UTF-8 of a str, owned by the str; NULL and no error set if there is none. */
    static inline const char *keys_utf8(PyObject *text, Py_ssize_t *size) {
        const char *data;
        if (PyUnicode_IS_COMPACT_ASCII(text)) {
            *size = PyUnicode_GET_LENGTH(text);
            return (const char *)PyUnicode_1BYTE_DATA(text);
        }
        data = PyUnicode_AsUTF8AndSize(text, size);
        if (data == NULL) PyErr_Clear();
        return data;
    }

    /* The 16 bytes of an int of 128 bits; 0 and no error set if it is none. */
    static inline int keys_128_bits(PyObject *number, uint8_t *to) {
        Py_ssize_t failed;
        if (!PyLong_CheckExact(number)) return 0;
    #if PY_VERSION_HEX >= 0x030D0000
        failed = PyLong_AsNativeBytes(number, to, 16,
            Py_ASNATIVEBYTES_BIG_ENDIAN | Py_ASNATIVEBYTES_UNSIGNED_BUFFER | Py_ASNATIVEBYTES_REJECT_NEGATIVE);
        failed = failed < 0 || failed > 16;
    #else
        failed = _PyLong_AsByteArray((PyLongObject *)number, to, 16, 0, 0) < 0;
    #endif
        if (failed) PyErr_Clear();
        return !failed;
    }

    /* Where instances of a class keep what they have in a slot of __slots__; -1 if it is not that. */
    static Py_ssize_t keys_slot(PyObject *type, PyObject *slot) {
        PyMemberDescrObject *member = (PyMemberDescrObject *)slot;
        if (!Py_IS_TYPE(slot, &PyMemberDescr_Type) || (PyObject *)PyDescr_TYPE(slot) != type) return -1;
        return member->d_member->type == T_OBJECT_EX ? member->d_member->offset : -1;
    }

    /* The 16 bytes of an object of exactly that class, whose slot is at this offset. */
    static inline int keys_uuid(PyObject *uuid, Py_ssize_t slot, uint8_t *to) {
        PyObject *number = slot > 0 ? *(PyObject **)((char *)uuid + slot) : NULL;
        return number != NULL && keys_128_bits(number, to);
    }

    /* A str of text and room for tail_size more characters, which start at *tail. */
    static inline PyObject *keys_ascii(const char *text, Py_ssize_t size, Py_ssize_t tail_size, char **tail) {
        PyObject *made = PyUnicode_New(size + tail_size, 127);
        if (made == NULL) return NULL;
        b2s_copy(PyUnicode_1BYTE_DATA(made), text, size);
        *tail = (char *)PyUnicode_1BYTE_DATA(made) + size;
        return made;
    }

    /* text, i, decimal digits. */
    static inline PyObject *keys_readable_int(const char *text, Py_ssize_t size, long long value) {
        uint64_t rest = value < 0 ? 0 - (uint64_t)value : (uint64_t)value, power = 10;
        Py_ssize_t count = 2 + (value < 0);
        char *tail;
        PyObject *made;
        for (; rest >= power; power *= 10) count++;   /* ends at 10**19 at the latest */
        made = keys_ascii(text, size, count, &tail);
        if (made == NULL) return NULL;
        tail[0] = 'i';
        if (value < 0) tail[1] = '-';
        do { tail[--count] = (char)('0' + rest % 10); rest /= 10; } while (rest);
        return made;
    }

    #define keys_tuple_items(tuple) ((PyObject *const *)((PyTupleObject *)(tuple))->ob_item)
    """
    ctypedef struct b2s:
        uint64_t t
        size_t used
        uint8_t block[64]
    ctypedef struct b2s_batch:
        uint32_t words[16][8]
        uint32_t ends[8]
        uint32_t digests[4][8]
    ctypedef void (*b2s_kernel)(const b2s*, b2s_batch*) noexcept
    void b2s_init(b2s*, size_t, const void*, size_t) noexcept
    void b2s_update(b2s*, const void*, size_t) noexcept
    void b2s_final(b2s*, uint8_t*) noexcept
    void b2s_put_head(b2s_batch*, const b2s*) noexcept
    void b2s_put(b2s_batch*, int, const b2s*, size_t) noexcept
    b2s_kernel b2s_find_kernel(int) noexcept
    void b2s_copy(void*, const void*, size_t) noexcept
    void b2s_header(b2s*, uint8_t, size_t) noexcept
    void b2s_part(b2s*, uint8_t, const void*, size_t) noexcept
    void b2s_int(b2s*, long long) noexcept
    void b2s_double(b2s*, double) noexcept
    void keys_fill_pairs() noexcept
    void keys_hex_16(char*, const uint8_t*) noexcept
    void keys_digest(b2s*, char*) noexcept
    void keys_lane_digests(const b2s_batch*, int, char**) noexcept
    const char* keys_utf8(object, Py_ssize_t*) noexcept
    Py_ssize_t keys_slot(object, object) noexcept
    bint keys_uuid(object, Py_ssize_t, uint8_t*) noexcept
    PyObject* const* tuple_items "keys_tuple_items"(object) noexcept
    str keys_ascii(const char*, Py_ssize_t, Py_ssize_t, char**)
    str keys_readable_int(const char*, Py_ssize_t, long long)

cdef extern from "Python.h":
    ctypedef PyObject* (*vectorcallfunc)(PyObject*, PyObject* const*, size_t, PyObject*)
    ctypedef struct PyTypeObject:
        Py_ssize_t tp_vectorcall_offset
        unsigned long tp_flags
    const unsigned long Py_TPFLAGS_HAVE_VECTORCALL
    Py_ssize_t PyVectorcall_NARGS(size_t)
    bint PyUnicode_Check(object)
    bint PyUnicode_CheckExact(object)
    bint PyLong_Check(object)
    bint PyLong_CheckExact(object)
    bint PyBytes_Check(object)
    bint PyBytes_CheckExact(object)
    bint PyFloat_Check(object)
    double PyFloat_AS_DOUBLE(object)
    bint PyTuple_Check(object)
    Py_ssize_t PyTuple_GET_SIZE(object)
    PyObject* PyTuple_GET_ITEM(object, Py_ssize_t)
    PyObject* PyList_GET_ITEM(object, Py_ssize_t)
    bint PyDict_CheckExact(object)
    Py_ssize_t PyDict_GET_SIZE "PyDict_Size"(object)
    bint PyDict_Next(object, Py_ssize_t*, PyObject**, PyObject**)
    long long PyLong_AsLongLongAndOverflow(object, int*) except? -1


cdef enum:
    DIGEST_SIZE = 16
    TAIL = 32           # of a hashed key
    MAX_KEY = 200
    MAX_SECRET = 32
    MAX_NESTING = 16
    MAX_FIELDS = 16     # in the direct way of make_key
    LANES = 8

cdef uint8_t _version = ord(_keys_py.VERSION)
cdef uint8_t[256] _SAFE    # the characters that a prefix may have and an entity shows as they are
cdef int _byte
for _byte in range(256):
    _SAFE[_byte] = _byte < 128 and (chr(_byte).isalnum() or chr(_byte) in "._@/-")

keys_fill_pairs()

cdef Py_ssize_t _uuid_slot = keys_slot(UUID, UUID.__dict__.get("int"))

cdef b2s_kernel _kernel = NULL
for _which in (3, 2, 1):
    if _kernel is NULL:
        _kernel = b2s_find_kernel(_which)


cdef int absorb(b2s* state, object value, object field, int nesting) except -1:
    """Add a value's part to the message."""
    cdef Py_ssize_t size
    cdef const char* text
    cdef int overflow = 0
    cdef long long number
    cdef double real
    cdef Py_ssize_t place
    if PyUnicode_Check(value):
        text = keys_utf8(value, &size)
        if text is not NULL:
            b2s_part(state, b"s", text, size)
            return 0
    elif value is True or value is False:
        b2s_part(state, b"b", b"\x01" if value is True else b"\x00", 1)
        return 0
    elif PyLong_Check(value):
        number = PyLong_AsLongLongAndOverflow(value, &overflow)
        if not overflow:
            b2s_int(state, number)
            return 0
    elif value is None:
        b2s_part(state, b"n", b"", 0)
        return 0
    elif PyBytes_Check(value):
        b2s_part(state, b"y", PyBytes_AS_STRING(value), PyBytes_GET_SIZE(value))
        return 0
    elif PyFloat_Check(value):
        real = PyFloat_AS_DOUBLE(value)
        if real == real:
            b2s_double(state, real)
            return 0
    elif PyTuple_Check(value) and nesting < MAX_NESTING:
        size = PyTuple_GET_SIZE(value)
        b2s_header(state, b"(", size)
        for place in range(size):
            absorb(state, <object>PyTuple_GET_ITEM(value, place), field, nesting + 1)
        return 0
    elif type(value) is UUID:
        return absorb_uuid(state, value, field)
    return absorb_rest(state, value, field, nesting)


cdef int absorb_uuid(b2s* state, object value, object field) except -1:
    cdef uint8_t[16] payload
    if not keys_uuid(value, _uuid_slot, payload):
        return absorb_rest(state, value, field, 0)
    b2s_part(state, b"u", payload, 16)
    return 0


cdef int absorb_rest(b2s* state, object value, object field, int nesting) except -1:
    """What is rare, and what is refused."""
    cdef bytes part = encode(value, field, nesting)
    b2s_update(state, PyBytes_AS_STRING(part), PyBytes_GET_SIZE(part))
    return 0


cdef str finish(b2s* state, const char* text, Py_ssize_t size):
    """The key that starts with text and ends with the digest of the message."""
    cdef char* tail
    cdef str key = keys_ascii(text, size, TAIL, &tail)
    keys_digest(state, tail)
    return key


cdef Py_ssize_t start_plain(b2s* state, char* text, object prefix, object entity, object secret):
    """Begin a message and its key's text, for a prefix and entity that are shown as they are.

    Returns the length of the text; -1 without an error set if this is another case.
    """
    cdef Py_ssize_t prefix_size = 0
    cdef Py_ssize_t entity_size = 0
    cdef Py_ssize_t at
    cdef const char* prefix_text
    cdef const char* entity_text
    cdef uint8_t safe = 1
    if not PyUnicode_CheckExact(prefix) or not PyUnicode_CheckExact(entity):
        return -1
    prefix_text = keys_utf8(prefix, &prefix_size)
    entity_text = keys_utf8(entity, &entity_size)
    if prefix_text is NULL or entity_text is NULL or not 1 <= prefix_size <= 64 or entity_size < 1:
        return -1
    if entity_size > MAX_KEY - TAIL - 2 - prefix_size:
        return -1
    for at in range(prefix_size):
        safe &= _SAFE[<uint8_t>prefix_text[at]]
    for at in range(entity_size):
        safe &= _SAFE[<uint8_t>entity_text[at]]
    if not safe:
        return -1
    if secret is None:
        b2s_init(state, DIGEST_SIZE, NULL, 0)
    elif PyBytes_CheckExact(secret) and 1 <= PyBytes_GET_SIZE(secret) <= MAX_SECRET:
        b2s_init(state, DIGEST_SIZE, PyBytes_AS_STRING(secret), PyBytes_GET_SIZE(secret))
    else:
        return -1
    b2s_update(state, &_version, 1)
    b2s_part(state, b"s", prefix_text, prefix_size)
    b2s_part(state, b"s", entity_text, entity_size)
    b2s_copy(text, prefix_text, prefix_size)
    text[prefix_size] = b":"
    b2s_copy(text + prefix_size + 1, entity_text, entity_size)
    text[prefix_size + 1 + entity_size] = b":"
    return prefix_size + entity_size + 2


cdef Py_ssize_t start_any(b2s* state, char* text, object prefix, object entity, object secret, int tail) except -1:
    """The same for every prefix and entity, with the errors of _keys_py."""
    cdef str readable
    cdef bytes message
    cdef bytes shown
    cdef bytes key = b"" if secret is None else check_secret(secret)
    readable, message = head(prefix, entity, tail)
    shown = readable.encode("ascii")
    if len(shown) > MAX_KEY:
        raise AssertionError("head() returned more than fits")
    b2s_init(state, DIGEST_SIZE, PyBytes_AS_STRING(key), PyBytes_GET_SIZE(key))
    b2s_update(state, PyBytes_AS_STRING(message), PyBytes_GET_SIZE(message))
    memcpy(text, PyBytes_AS_STRING(shown), PyBytes_GET_SIZE(shown))
    return PyBytes_GET_SIZE(shown)


cdef class _Head:
    """What all keys of one prefix, entity and secret have in common."""
    cdef vectorcallfunc vectorcall  # of the makers, which extend this
    cdef b2s start
    cdef Py_ssize_t size
    cdef char[MAX_KEY] text
    cdef object prefix
    cdef object entity
    cdef object secret

    cdef int begin(self, object prefix, object entity, object secret, int tail) except -1:
        self.size = start_plain(&self.start, self.text, prefix, entity, secret)
        if self.size < 0 or self.size + tail > MAX_KEY:
            self.size = start_any(&self.start, self.text, prefix, entity, secret, tail)
        self.prefix, self.entity, self.secret = prefix, entity, secret
        return 0


# The heads of recent make_key calls, found by the identity of their arguments, which a head keeps alive. Callers
# pass the same few objects again and again; checking and absorbing them each time would cost a tenth of the call.
cdef enum:
    RECENT = 16

cdef list _recent = []


cdef int fill_recent() except -1:
    cdef _Head head = _Head()
    head.begin("-", "-", None, TAIL)
    _recent.extend([head] * RECENT)
    return 0


fill_recent()


cdef _Head head_of(object prefix, object entity, object secret):
    cdef size_t place = (<size_t><PyObject*>prefix ^ <size_t><PyObject*>entity) // 16 % RECENT
    cdef _Head head = <_Head>PyList_GET_ITEM(_recent, place)
    if head.prefix is not prefix or head.entity is not entity or head.secret is not secret:
        head = _Head.__new__(_Head)
        head.begin(prefix, entity, secret, TAIL)
        _recent[place] = head
    return head


def make_key(prefix, entity, fields, *, secret=None):
    cdef b2s state
    cdef _Head head
    cdef Py_ssize_t count
    cdef Py_ssize_t position = 0
    cdef Py_ssize_t name_size = 0
    cdef PyObject* name
    cdef PyObject* value
    cdef const char* name_text
    cdef object held_name
    cdef object held_value
    if PyDict_CheckExact(fields):
        head = head_of(prefix, entity, secret)
        state = head.start
        count = PyDict_GET_SIZE(fields)
        if count == 1 and PyDict_Next(fields, &position, &name, &value) and PyUnicode_CheckExact(<object>name):
            name_text = keys_utf8(<object>name, &name_size)
            if name_text is not NULL and name_size > 0:
                # Encoding can run Python code, which could take both out of the dict.
                held_name, held_value = <object>name, <object>value
                b2s_part(&state, b"s", name_text, name_size)
                absorb(&state, held_value, held_name, 0)
                return finish(&state, head.text, head.size)
        elif 1 < count <= MAX_FIELDS and absorb_fields(&state, fields, count):
            return finish(&state, head.text, head.size)
    return _keys_py.make_key(prefix, entity, fields, secret=secret)


cdef bint absorb_fields(b2s* state, object fields, Py_ssize_t count) except -1:
    """Absorb the items of a dict by the code points of their names; False if the names are not all plain."""
    cdef PyObject* names[MAX_FIELDS]
    cdef PyObject* values[MAX_FIELDS]
    cdef const char* texts[MAX_FIELDS]
    cdef Py_ssize_t[MAX_FIELDS] sizes
    cdef PyObject* name
    cdef PyObject* value
    cdef const char* text
    cdef Py_ssize_t size = 0
    cdef Py_ssize_t position = 0
    cdef Py_ssize_t taken = 0
    cdef Py_ssize_t at
    while PyDict_Next(fields, &position, &name, &value):
        if taken == count or not PyUnicode_CheckExact(<object>name):
            return False
        text = keys_utf8(<object>name, &size)
        if text is NULL or size == 0:
            return False
        # By the bytes of UTF-8, whose order is that of the code points. Plain names in one dict are never equal.
        at = taken
        while at > 0 and text_follows(texts[at - 1], sizes[at - 1], text, size):
            names[at], values[at], texts[at], sizes[at] = names[at - 1], values[at - 1], texts[at - 1], sizes[at - 1]
            at -= 1
        names[at], values[at], texts[at], sizes[at] = name, value, text, size
        taken += 1
    for at in range(taken):  # from here on Python code can run, and could change the dict
        Py_INCREF(<object>names[at])
        Py_INCREF(<object>values[at])
    try:
        for at in range(taken):
            b2s_part(state, b"s", texts[at], sizes[at])
            absorb(state, <object>values[at], <object>names[at], 0)
    finally:
        for at in range(taken):
            Py_DECREF(<object>names[at])
            Py_DECREF(<object>values[at])
    return True


cdef inline bint text_follows(
    const char* left, Py_ssize_t left_size, const char* right, Py_ssize_t right_size
) noexcept:
    """Whether left comes after right."""
    cdef int order = memcmp(left, right, min(left_size, right_size))
    return order > 0 or (order == 0 and left_size > right_size)


def make_keys(prefix, entity, field, values, *, secret=None):
    return KeyMaker(prefix, entity, (field,), secret=secret).many(values)


cdef class _Batch:
    """Collects keys whose digests are made together: each has its text already, and gets its digest in a flush."""
    cdef _Head head
    cdef list keys
    cdef b2s_batch lanes
    cdef char* tails[LANES]  # where the digests go
    cdef int waiting
    cdef bint useful

    def __cinit__(self, _Head head not None):
        self.head = head
        self.keys = []
        self.waiting = 0
        # The lanes count the bytes of a message in 32 bits.
        self.useful = _kernel is not NULL and head.start.t < 0x40000000
        b2s_put_head(&self.lanes, &head.start)

    cdef int add(self, b2s* state) except -1:
        cdef char* tail
        if not self.useful or state.t != self.head.start.t:
            self.keys.append(finish(state, self.head.text, self.head.size))
            return 0
        self.keys.append(keys_ascii(self.head.text, self.head.size, TAIL, &tail))
        b2s_put(&self.lanes, self.waiting, state, self.head.start.used)
        self.tails[self.waiting] = tail
        self.waiting += 1
        if self.waiting == LANES:
            self.flush()
        return 0

    cdef int flush(self) except -1:
        if self.waiting:
            _kernel(&self.head.start, &self.lanes)
            keys_lane_digests(&self.lanes, self.waiting, self.tails)
            self.waiting = 0
        return 0


@cython.final
cdef class KeyMaker(_Head):
    """Makes keys for the same fields of the same kind of record: make_key with everything but the values prepared.

    See cachecore._keys_py.KeyMaker, whose twin this is.
    """

    cdef readonly tuple fields
    cdef tuple names   # as the message has them
    cdef tuple parts   # each name's part; the first is in the start already
    cdef Py_ssize_t* places  # of each name's value in a call
    cdef Py_ssize_t count

    def __cinit__(self, prefix, entity, fields, *, secret=None):
        cdef bytes first
        cdef Py_ssize_t at
        self.begin(prefix, entity, secret, TAIL)
        self.fields = check_names(fields)
        self.names, self.parts, places = zip(*sorted_names(self.fields))
        self.count = len(self.fields)
        self.places = <Py_ssize_t*>PyMem_Calloc(self.count, sizeof(Py_ssize_t))
        if self.places is NULL:
            raise MemoryError
        for at in range(self.count):
            self.places[at] = places[at]
        first = self.parts[0]
        b2s_update(&self.start, PyBytes_AS_STRING(first), PyBytes_GET_SIZE(first))
        self.vectorcall = <vectorcallfunc>call_key_maker

    def __dealloc__(self):
        PyMem_Free(self.places)

    cdef int absorb_values(self, b2s* state, PyObject* const* values) except -1:
        cdef Py_ssize_t at
        cdef object part
        for at in range(self.count):
            if at > 0:
                part = <object>PyTuple_GET_ITEM(self.parts, at)
                b2s_update(state, PyBytes_AS_STRING(part), PyBytes_GET_SIZE(part))
            absorb(state, <object>values[self.places[at]], <object>PyTuple_GET_ITEM(self.names, at), 0)
        return 0

    cdef str key(self, PyObject* const* values, Py_ssize_t given):
        cdef b2s state = self.start
        if given != self.count:
            raise wrong_count(self.fields, given)
        if given == 1:
            absorb(&state, <object>values[0], <object>PyTuple_GET_ITEM(self.names, 0), 0)
        else:
            self.absorb_values(&state, values)
        return finish(&state, self.text, self.size)

    def __call__(self, *values):
        """The key for these values, one for each field, in the order of `fields`."""
        return self.key(tuple_items(values), PyTuple_GET_SIZE(values))

    def many(self, values):
        """The keys for many values, in their order: values of the one field, or tuples of values of the several."""
        cdef b2s state
        cdef _Batch batch
        cdef tuple row
        check_batch(values)
        batch = _Batch(self)
        for value in values:
            state = self.start
            if self.count == 1:
                absorb(&state, value, <object>PyTuple_GET_ITEM(self.names, 0), 0)
            else:
                row = value if type(value) is tuple else tuple(check_row(value, self.fields))
                if PyTuple_GET_SIZE(row) != self.count:
                    raise wrong_count(self.fields, PyTuple_GET_SIZE(row))
                self.absorb_values(&state, tuple_items(row))
            batch.add(&state)
        batch.flush()
        return batch.keys

    def __reduce__(self):
        return remake, ("KeyMaker", self.secret, self.prefix, self.entity, self.fields)

    def __repr__(self):
        return maker_repr("KeyMaker", self.secret, self.prefix, self.entity, self.fields)


@cython.final
cdef class IdentityMaker(_Head):
    """Makes the keys of rows under their identity: readable for an int of 64 bits or a UUID, hashed for all else.

    See cachecore._keys_py.IdentityMaker, whose twin this is.
    """

    def __cinit__(self, prefix, entity, *, secret=None):
        self.begin(prefix, entity, secret, _keys_py.IDENTITY_TAIL)
        b2s_part(&self.start, b"n", b"", 0)
        self.vectorcall = <vectorcallfunc>call_identity_maker

    cdef str readable(self, object identity):
        """The key if it is readable, else None."""
        cdef char* tail
        cdef str key
        cdef uint8_t[16] bits
        cdef int overflow = 0
        cdef long long number
        if PyLong_Check(identity):
            if identity is True or identity is False:
                return None
            number = PyLong_AsLongLongAndOverflow(identity, &overflow)
            if overflow:
                return None
            return keys_readable_int(self.text, self.size, number)
        if type(identity) is UUID and keys_uuid(identity, _uuid_slot, bits):
            key = keys_ascii(self.text, self.size, 33, &tail)
            tail[0] = b"u"
            keys_hex_16(tail + 1, bits)
            return key
        if PyUnicode_Check(identity):
            return None
        rest = readable_identity(identity)
        if rest is None:
            return None
        return self.text[: self.size].decode("ascii") + rest

    cdef str key(self, object identity):
        cdef b2s state
        cdef str key
        cdef int overflow = 0
        cdef long long number
        if self.secret is None:
            if PyLong_CheckExact(identity):  # most are
                number = PyLong_AsLongLongAndOverflow(identity, &overflow)
                if not overflow:
                    return keys_readable_int(self.text, self.size, number)
            key = self.readable(identity)
            if key is not None:
                return key
        state = self.start
        absorb(&state, identity, "identity", 0)
        return finish(&state, self.text, self.size)

    def __call__(self, identity, /):
        """The key of the row with this identity."""
        return self.key(identity)

    def many(self, identities):
        """The keys of many rows, in the order of their identities."""
        cdef b2s state
        cdef _Batch batch
        cdef str key
        check_batch(identities)
        batch = _Batch(self)
        for identity in identities:
            key = self.readable(identity) if self.secret is None else None
            if key is not None:
                batch.keys.append(key)
            else:
                state = self.start
                absorb(&state, identity, "identity", 0)
                batch.add(&state)
        batch.flush()
        return batch.keys

    def __reduce__(self):
        return remake, ("IdentityMaker", self.secret, self.prefix, self.entity)

    def __repr__(self):
        return maker_repr("IdentityMaker", self.secret, self.prefix, self.entity)


# Vectorcall (PEP 590) by hand: Cython gives __call__ of an extension type only tp_call, whose tuple of arguments would
# cost more than a readable key.

cdef object call_key_maker(KeyMaker maker, PyObject* const* arguments, size_t flags, PyObject* names):
    if names is not NULL and PyTuple_GET_SIZE(<object>names):
        raise TypeError("KeyMaker takes no keyword arguments")
    return maker.key(arguments, PyVectorcall_NARGS(flags))


cdef object call_identity_maker(IdentityMaker maker, PyObject* const* arguments, size_t flags, PyObject* names):
    if PyVectorcall_NARGS(flags) != 1 or (names is not NULL and PyTuple_GET_SIZE(<object>names)):
        raise TypeError("IdentityMaker takes one positional argument")
    return maker.key(<object>arguments[0])


cdef void offer_vectorcall(PyTypeObject* type_, _Head instance) noexcept:
    type_.tp_vectorcall_offset = <char*>&instance.vectorcall - <char*><PyObject*>instance
    type_.tp_flags |= Py_TPFLAGS_HAVE_VECTORCALL


offer_vectorcall(<PyTypeObject*>KeyMaker, KeyMaker("-", "-", ("-",)))
offer_vectorcall(<PyTypeObject*>IdentityMaker, IdentityMaker("-", "-"))


def blake2s(data, *, key=b"", digest_size=32):
    """BLAKE2s of data with any digest size: for tests of the hash beneath the keys."""
    cdef b2s state
    cdef uint8_t[32] digest
    cdef bytes message = data
    cdef bytes secret = key
    if not 1 <= digest_size <= 32 or len(secret) > MAX_SECRET:
        raise InvalidKey(f"digest_size {digest_size} or the key's length {len(secret)} is not BLAKE2s's")
    b2s_init(&state, digest_size, PyBytes_AS_STRING(secret), PyBytes_GET_SIZE(secret))
    b2s_update(&state, PyBytes_AS_STRING(message), PyBytes_GET_SIZE(message))
    b2s_final(&state, digest)
    return digest[:digest_size]


def lane_digests(kernel, head, tails):
    """BLAKE2s-128 of head + tail for up to eight tails that end in one block: for tests of each kernel.

    kernel: 0 scalar, 1 the compiler's vectors, 2 those with AVX2, 3 with AVX-512. Returns None if this machine has no such kernel.
    """
    cdef b2s_kernel run = b2s_find_kernel(kernel)
    cdef b2s start
    cdef b2s state
    cdef b2s_batch batch
    cdef bytes message = head
    cdef bytes tail
    cdef int lane
    if run is NULL:
        return None
    b2s_init(&start, DIGEST_SIZE, NULL, 0)
    b2s_update(&start, PyBytes_AS_STRING(message), PyBytes_GET_SIZE(message))
    b2s_put_head(&batch, &start)
    for lane, tail in enumerate(tails[:LANES]):
        state = start
        b2s_update(&state, PyBytes_AS_STRING(tail), PyBytes_GET_SIZE(tail))
        if state.t != start.t:
            raise InvalidKey("a tail leaves the block that the head left open")
        b2s_put(&batch, lane, &state, start.used)
    run(&start, &batch)
    return [b"".join([batch.digests[at][lane].to_bytes(4, "little") for at in range(4)]) for lane in range(len(tails))]


for _function in (make_key, make_keys):
    _function.__doc__ = getattr(_keys_py, _function.__name__).__doc__
del _function
