package deb

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/md5"
	"fmt"
	"io"
	"path"
	"strings"
	"time"
)

// member is a file of an ar archive.
type member struct {
	name string
	data []byte
}

// writeAr writes the common format of ar(5): a header of 60 bytes before each member,
// which begins at an even place.
func writeAr(w io.Writer, modified time.Time, members []member) error {
	var b bytes.Buffer
	b.WriteString("!<arch>\n")
	for _, m := range members {
		fmt.Fprintf(&b, "%-16s%-12d%-6d%-6d%-8s%-10d`\n", m.name, modified.Unix(), 0, 0, "100644", len(m.data))
		b.Write(m.data)
		if len(m.data)%2 == 1 {
			b.WriteByte('\n')
		}
	}
	_, err := w.Write(b.Bytes())
	return err
}

// archive makes a compressed tar of files, which are sorted, and of the directories
// above each.
func archive(files []File, modified time.Time) ([]byte, error) {
	var out bytes.Buffer
	z, err := gzip.NewWriterLevel(&out, gzip.BestCompression) // its header has no time and no name
	if err != nil {
		return nil, err
	}
	t := tar.NewWriter(z)
	made := map[string]bool{}
	for _, f := range files {
		for _, dir := range above(f.Path) {
			if made[dir] {
				continue
			}
			made[dir] = true
			if err := t.WriteHeader(header(tar.TypeDir, dir, 0o755, 0, modified)); err != nil {
				return nil, err
			}
		}
		if err := t.WriteHeader(header(tar.TypeReg, "."+f.Path, int64(f.Mode.Perm()), int64(len(f.Data)), modified)); err != nil {
			return nil, err
		}
		if _, err := t.Write(f.Data); err != nil {
			return nil, err
		}
	}
	if err := t.Close(); err != nil {
		return nil, err
	}
	if err := z.Close(); err != nil {
		return nil, err
	}
	return out.Bytes(), nil
}

// above lists the directories that lead to a path, as tar has them: ./, ./usr/, …
func above(name string) []string {
	dirs := []string{"./"}
	parts := strings.Split(strings.Trim(path.Dir(name), "/"), "/")
	for i, part := range parts {
		if part != "" {
			dirs = append(dirs, "./"+strings.Join(parts[:i+1], "/")+"/")
		}
	}
	return dirs
}

func header(kind byte, name string, mode, size int64, modified time.Time) *tar.Header {
	return &tar.Header{
		Typeflag: kind, Name: name, Mode: mode, Size: size, ModTime: modified.Truncate(time.Second),
		Uname: "root", Gname: "root", Format: tar.FormatGNU,
	}
}

// sums is what debsums holds installed files against. It is no protection.
func sums(files []File) []byte {
	var b bytes.Buffer
	for _, f := range files {
		if !f.Conffile {
			fmt.Fprintf(&b, "%x  %s\n", md5.Sum(f.Data), strings.TrimPrefix(f.Path, "/"))
		}
	}
	return b.Bytes()
}
