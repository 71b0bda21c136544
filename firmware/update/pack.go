package update

import (
	"bufio"
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"
	"time"

	"github.com/klauspost/compress/zstd"

	"github.com/headwater/headwater/firmware/uefi"
)

// Contents is what goes into a bundle.
type Contents struct {
	Version    string
	Compatible string
	Created    time.Time
	Kernel     io.Reader
	Root       io.Reader
}

// Pack writes a bundle that key signs to out. The head is known only when both payloads
// are packed, so they wait in scratch, which is written from its beginning. The same
// contents make the same bundle.
func Pack(ctx context.Context, out io.Writer, scratch io.ReadWriteSeeker, key ed25519.PrivateKey, c Contents) (Manifest, error) {
	m := Manifest{Version: c.Version, Compatible: c.Compatible, Created: c.Created.UTC().Truncate(time.Second)}
	kernel := bufio.NewReaderSize(c.Kernel, uefi.HeadBytes)
	head, err := kernel.Peek(uefi.HeadBytes)
	if err != nil && !errors.Is(err, io.EOF) {
		return m, fmt.Errorf("read the kernel: %w", err)
	}
	head = bytes.Clone(head)
	if m.Kernel, err = packInto(ctx, scratch, kernel); err != nil {
		return m, fmt.Errorf("pack the kernel: %w", err)
	}
	if err := startable(head, m.Kernel.Bytes); err != nil {
		return m, err
	}
	if m.Root, err = packInto(ctx, scratch, c.Root); err != nil {
		return m, fmt.Errorf("pack the root: %w", err)
	}
	if err := m.validate(); err != nil {
		return m, err
	}
	head, err = sign(m, key)
	if err != nil {
		return m, err
	}
	if _, err := scratch.Seek(0, io.SeekStart); err != nil {
		return m, err
	}
	if _, err := out.Write(head); err != nil {
		return m, err
	}
	return m, copyTo(ctx, scratch, m.Kernel.PackedBytes+m.Root.PackedBytes, out)
}

// sign makes the head of a bundle.
func sign(m Manifest, key ed25519.PrivateKey) ([]byte, error) {
	text, err := json.Marshal(m)
	if err != nil {
		return nil, err
	}
	if len(text) > maxManifestBytes {
		return nil, fmt.Errorf("the manifest has %d bytes; allowed are %d", len(text), maxManifestBytes)
	}
	head := []byte(magic)
	head = binary.BigEndian.AppendUint32(head, format)
	head = binary.BigEndian.AppendUint32(head, uint32(len(text)))
	head = append(head, text...)
	return append(head, ed25519.Sign(key, head)...), nil
}

// packInto packs all of in behind what is in out, and describes it.
func packInto(ctx context.Context, out io.Writer, in io.Reader) (p Payload, err error) {
	packed := &measured{out: out, sum: sha256.New()}
	zip, err := zstd.NewWriter(packed, zstd.WithEncoderConcurrency(1), zstd.WithEncoderLevel(zstd.SpeedBestCompression), zstd.WithWindowSize(maxWindow))
	if err != nil {
		return p, err
	}
	plain := &measured{out: zip, sum: sha256.New()}
	buf := make([]byte, chunk)
	for err == nil {
		if err = ctx.Err(); err != nil {
			break
		}
		var n int
		n, err = in.Read(buf)
		if _, werr := plain.Write(buf[:n]); werr != nil {
			err = werr
		}
	}
	if !errors.Is(err, io.EOF) {
		zip.Close()
		return p, err
	}
	if err := zip.Close(); err != nil {
		return p, err
	}
	return Payload{Bytes: plain.n, SHA256: plain.hex(), PackedBytes: packed.n, PackedSHA256: packed.hex()}, nil
}

// measured counts and hashes what it passes on.
type measured struct {
	out io.Writer
	sum hash.Hash
	n   int64
}

func (m *measured) Write(p []byte) (int, error) {
	n, err := m.out.Write(p)
	m.n += int64(n)
	m.sum.Write(p[:n])
	return n, err
}

func (m *measured) hex() string { return hex.EncodeToString(m.sum.Sum(nil)) }
