package update

import (
	"bufio"
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"

	"github.com/klauspost/compress/zstd"

	"github.com/headwater/headwater/firmware/uefi"
)

// A bundle is one file; docs/FORMATS.md has it too.
const (
	magic = "HWUPDATE"

	atMagic          = 0
	atFormat         = 8  // uint32, big-endian
	atManifestLength = 12 // uint32
	headerLen        = 16
	// then the manifest, JSON; an ed25519 signature over all before it; the kernel and
	// the root, packed
)

const (
	format    = 1
	maxWindow = 2 << 20   // of a packed payload: what unpacking it takes
	chunk     = 256 << 10 // what is read and written at a time
)

// Bundle is one that is being read.
type Bundle struct {
	Manifest Manifest
	payloads io.Reader  // the kernel, then the root
	kernel   *unpacking // begun, where somebody looked at its head; else nil
}

// Open reads the head of a bundle of size bytes from r. Nothing of the manifest is
// looked at before one of keys has signed it.
func Open(r io.Reader, size int64, keys []ed25519.PublicKey) (*Bundle, error) {
	return open(r, size, func(signed, signature []byte) error {
		for _, key := range keys {
			if ed25519.Verify(key, signed, signature) {
				return nil
			}
		}
		return fmt.Errorf("%w (%d are known); sign it with one of them", ErrKey, len(keys))
	})
}

// Inspect reads the head of a bundle and believes it: whoever wrote the file could say
// anything. It is for looking at one.
func Inspect(r io.Reader, size int64) (*Bundle, error) {
	return open(r, size, func(_, _ []byte) error { return nil })
}

func open(r io.Reader, size int64, verify func(signed, signature []byte) error) (*Bundle, error) {
	head := make([]byte, headerLen, headerLen+4<<10)
	if err := readFull(r, head); err != nil {
		if errors.Is(err, ErrTruncated) && !bytes.HasPrefix(head, []byte(magic)) {
			return nil, fmt.Errorf("%w: it is too short for one", ErrNotBundle)
		}
		return nil, err
	}
	if string(head[atMagic:atFormat]) != magic {
		return nil, fmt.Errorf("%w: it does not begin with %s", ErrNotBundle, magic)
	}
	if f := binary.BigEndian.Uint32(head[atFormat:]); f != format {
		return nil, fmt.Errorf("%w of format %d, and has %d; it is for a later release", ErrNotBundle, format, f)
	}
	length := binary.BigEndian.Uint32(head[atManifestLength:])
	if length == 0 || length > maxManifestBytes {
		return nil, fmt.Errorf("%w: its manifest has %d bytes; allowed is from 1 to %d", ErrNotBundle, length, maxManifestBytes)
	}
	signed := append(head, make([]byte, length)...)
	signature := make([]byte, ed25519.SignatureSize)
	if err := errors.Join(readFull(r, signed[headerLen:]), readFull(r, signature)); err != nil {
		return nil, err
	}
	if err := verify(signed, signature); err != nil {
		return nil, err
	}
	manifest, err := parseManifest(signed[headerLen:])
	if err != nil {
		return nil, err
	}
	want := int64(len(signed)+len(signature)) + manifest.Kernel.PackedBytes + manifest.Root.PackedBytes
	switch {
	case size < want:
		return nil, fmt.Errorf("%w: %d bytes of %d", ErrTruncated, size, want)
	case size > want:
		return nil, fmt.Errorf("%w: it has %d bytes and should have %d", ErrDamaged, size, want)
	}
	return &Bundle{Manifest: manifest, payloads: r}, nil
}

// readFull fills buf; an end before that is a bundle cut short.
func readFull(r io.Reader, buf []byte) error {
	_, err := io.ReadFull(r, buf)
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return fmt.Errorf("%w in its head", ErrTruncated)
	}
	return err
}

// Check reads both payloads to their end, and holds them against the manifest as they
// are packed. Nothing can be unpacked afterwards.
func (b *Bundle) Check(ctx context.Context) error {
	for _, p := range []Payload{b.Manifest.Kernel, b.Manifest.Root} {
		sum := sha256.New()
		in := &counted{r: b.payloads, left: p.PackedBytes}
		if err := copyTo(ctx, in, p.PackedBytes, sum); err != nil {
			return err
		}
		if !matches(sum, p.PackedSHA256) {
			return fmt.Errorf("%w: the bytes of its payloads are not those that were packed", ErrDamaged)
		}
	}
	return nil
}

// unpacking is a payload that is being read.
type unpacking struct {
	in   *counted
	zip  *zstd.Decoder
	head *bufio.Reader // of zip
}

func (b *Bundle) begin(p Payload) (*unpacking, error) {
	in := &counted{r: b.payloads, left: p.PackedBytes}
	zip, err := zstd.NewReader(in, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true),
		zstd.WithDecoderMaxWindow(maxWindow), zstd.WithDecoderMaxMemory(2*maxWindow))
	if err != nil {
		return nil, in.why(err)
	}
	return &unpacking{in: in, zip: zip, head: bufio.NewReaderSize(zip, uefi.HeadBytes)}, nil
}

// close lets go of what was begun.
func (b *Bundle) close() {
	if b.kernel != nil {
		b.kernel.zip.Close()
	}
}

// checkKernel looks at the first bytes of the kernel, and writes nothing.
func (b *Bundle) checkKernel() (err error) {
	p := b.Manifest.Kernel
	if b.kernel, err = b.begin(p); err != nil {
		return err
	}
	head, err := b.kernel.head.Peek(int(min(p.Bytes, uefi.HeadBytes)))
	if err != nil {
		return b.kernel.in.why(err)
	}
	return startable(head, p.Bytes)
}

// startable says why UEFI would not start a kernel of size bytes that begins with head.
func startable(head []byte, size int64) error {
	if err := uefi.Check(head, size); err != nil {
		return fmt.Errorf("%w: %w", ErrKernel, err)
	}
	return nil
}

// unpack writes the payload that comes next, which p describes, to out. What out has got
// when it returns nil is what the manifest says.
func (b *Bundle) unpack(ctx context.Context, p Payload, out io.Writer) (err error) {
	u := b.kernel
	b.kernel = nil
	if u == nil {
		if u, err = b.begin(p); err != nil {
			return err
		}
	}
	defer u.zip.Close()
	sum := sha256.New()
	if err := copyTo(ctx, u.head, p.Bytes, io.MultiWriter(sum, out)); err != nil {
		return u.in.why(err)
	}
	if n, err := u.head.Read(make([]byte, 1)); n > 0 || !errors.Is(err, io.EOF) || u.in.left > 0 {
		return u.in.why(fmt.Errorf("%w: there is more in it than its manifest says", ErrDamaged))
	}
	if !matches(sum, p.SHA256) {
		return fmt.Errorf("%w: a payload has another checksum than the manifest says", ErrDamaged)
	}
	return nil
}

// writeError is one of where the bytes go, and so not the bundle's.
type writeError struct{ error }

func (e writeError) Unwrap() error { return e.error }

// copyTo copies n bytes.
func copyTo(ctx context.Context, in io.Reader, n int64, out io.Writer) error {
	buf := make([]byte, chunk)
	for n > 0 {
		if err := ctx.Err(); err != nil {
			return err
		}
		got, err := io.ReadFull(in, buf[:min(n, chunk)])
		if err != nil {
			return err
		}
		if _, err := out.Write(buf[:got]); err != nil {
			return writeError{err}
		}
		n -= int64(got)
	}
	return nil
}

func matches(sum hash.Hash, want string) bool { return hex.EncodeToString(sum.Sum(nil)) == want }

// counted reads the next left bytes of r, and knows why it could not.
type counted struct {
	r    io.Reader
	left int64
	err  error
}

func (c *counted) Read(p []byte) (int, error) {
	if c.left == 0 {
		return 0, io.EOF
	}
	n, err := c.r.Read(p[:min(int64(len(p)), c.left)])
	c.left -= int64(n)
	if errors.Is(err, io.EOF) && c.left > 0 {
		err = fmt.Errorf("%w: %d bytes of a payload are missing", ErrTruncated, c.left)
	}
	if err != nil && !errors.Is(err, io.EOF) {
		c.err = err
	}
	return n, err
}

// why tells what err, of reading what c gives, is about.
func (c *counted) why(err error) error {
	var ours writeError
	switch {
	case c.err != nil:
		return c.err
	case errors.As(err, &ours), errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded), errors.Is(err, ErrDamaged):
		return err
	}
	return fmt.Errorf("%w: a payload cannot be unpacked: %w", ErrDamaged, err)
}
