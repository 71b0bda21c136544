// Package certs keeps the certificates that devices are shown, and those that devices
// are held against, and reads them again when their files change.
//
// A Store is for one set of files, however many listeners use it. Load reads them; Run
// looks after them, and waits for what it starts. What Config returns may be used from
// any goroutine, for as long as one likes: it follows the files.
package certs

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Files are PEM files.
type Files struct {
	Cert, Key string // the certificate, with those between it and its authority, and its key
	ClientCA  string // authorities of clients' certificates; empty: clients are not asked for one
	Verify    bool   // refuse clients without a certificate
}

// None tells that there is no TLS.
func (f Files) None() bool { return f.Cert == "" }

// Store holds what stands in Files, and stood there last when something was right.
type Store struct {
	listener string
	files    Files
	log      *slog.Logger
	current  atomic.Pointer[material]
	seen     fingerprint // of the files when they were last read; Run's alone
}

// Load reads files. listener names them in logs and metrics; reg may be nil. Its errors
// are FileErrors.
func Load(listener string, files Files, log *slog.Logger, reg prometheus.Registerer) (*Store, error) {
	s := &Store{listener: listener, files: files, log: log, seen: files.fingerprint()}
	m, err := files.read()
	if err != nil {
		return nil, err
	}
	s.current.Store(m)
	if reg != nil {
		reg.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name:        "headwater_tls_certificate_days_left",
			Help:        "Days until a certificate of the listener's chain expires; below 0 once it has.",
			ConstLabels: prometheus.Labels{"listener": listener},
		}, s.daysLeft))
	}
	return s, nil
}

func (s *Store) daysLeft() float64 {
	return time.Until(s.current.Load().expires).Hours() / 24
}

// lookEvery is how soon new files are used. Looking is three system calls.
const lookEvery = 10 * time.Second

// Run looks for changed files until ctx is done. Connections that stand are left as
// they are; the next one sees the new certificate. Files that are not right change
// nothing, and are told of once.
func (s *Store) Run(ctx context.Context) error {
	ticker := time.NewTicker(lookEvery)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
			s.look()
		case <-ctx.Done():
			return nil
		}
	}
}

func (s *Store) look() {
	now := s.files.fingerprint() // first: what changes while they are read is seen next time
	if now == s.seen {
		return
	}
	s.seen = now
	m, err := s.files.read()
	if err != nil {
		s.log.Error("new TLS files are not right; those before stay in use", "listener", s.listener, "err", err)
		return
	}
	s.current.Store(m)
	s.log.Info("TLS files read again", "listener", s.listener, "expires", m.expires)
}

// Config is for a listener. Servers that heed GetConfigForClient, as crypto/tls does,
// get all that the files say at each handshake; for those that put their own in its
// place, the rest of it says the same.
func (s *Store) Config() *tls.Config {
	return &tls.Config{
		MinVersion:         tls.VersionTLS12,
		GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) { return s.current.Load().config, nil },
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
			return &s.current.Load().config.Certificates[0], nil
		},
		ClientAuth:             s.files.asked(),
		VerifyConnection:       s.verify,
		SessionTicketsDisabled: s.files.ClientCA != "",
	}
}

// asked is what clients are asked for where verify does the rest.
func (f Files) asked() tls.ClientAuthType {
	switch {
	case f.ClientCA == "":
		return tls.NoClientCert
	case f.Verify:
		return tls.RequireAnyClientCert
	}
	return tls.RequestClientCert
}

// verify does for the certificate that a client has shown what crypto/tls does itself
// with the config of a material.
func (s *Store) verify(state tls.ConnectionState) error {
	if s.files.ClientCA == "" || len(state.PeerCertificates) == 0 {
		return nil // asked says whether there has to be one
	}
	between := x509.NewCertPool()
	for _, cert := range state.PeerCertificates[1:] {
		between.AddCert(cert)
	}
	_, err := state.PeerCertificates[0].Verify(x509.VerifyOptions{
		Roots:         s.current.Load().config.ClientCAs,
		Intermediates: between,
		KeyUsages:     []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	})
	return err
}

// FileError tells which of the files is not right.
type FileError struct {
	Field string // cert, key or clientCa
	Err   error
}

func (e *FileError) Error() string { return e.Err.Error() }
func (e *FileError) Unwrap() error { return e.Err }

// material is what stands in the files at one time.
type material struct {
	config  *tls.Config
	expires time.Time // the first certificate of the chain to do so
}

func (f Files) read() (*material, error) {
	cert, err := readFile("cert", f.Cert)
	if err != nil {
		return nil, err
	}
	key, err := readFile("key", f.Key)
	if err != nil {
		return nil, err
	}
	pair, err := tls.X509KeyPair(cert, key)
	if err != nil {
		return nil, &FileError{"cert", fmt.Errorf("%s and %s are not a certificate and its key: %w", f.Cert, f.Key, err)}
	}
	m := &material{config: &tls.Config{MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{pair}}}
	for _, der := range pair.Certificate {
		parsed, err := x509.ParseCertificate(der)
		if err != nil {
			return nil, &FileError{"cert", fmt.Errorf("%s holds what is no certificate: %w", f.Cert, err)}
		}
		if m.expires.IsZero() || parsed.NotAfter.Before(m.expires) {
			m.expires = parsed.NotAfter
		}
	}
	if f.ClientCA == "" {
		return m, nil
	}
	authorities, err := readFile("clientCa", f.ClientCA)
	if err != nil {
		return nil, err
	}
	m.config.ClientCAs = x509.NewCertPool()
	if !m.config.ClientCAs.AppendCertsFromPEM(authorities) {
		return nil, &FileError{"clientCa", errors.New(f.ClientCA + " holds no certificate in PEM form")}
	}
	m.config.ClientAuth = tls.VerifyClientCertIfGiven
	if f.Verify {
		m.config.ClientAuth = tls.RequireAndVerifyClientCert
	}
	m.config.SessionTicketsDisabled = true // a ticket would outlive the authority
	return m, nil
}
