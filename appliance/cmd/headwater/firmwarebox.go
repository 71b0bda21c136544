package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/headwater/headwater/firmware/update"
)

// boxClient asks a box's admin port.
type boxClient struct {
	base url.URL
	http *http.Client
}

const (
	maxAnswer  = 64 << 10
	answerTime = 30 * time.Second // of a box that has nothing to write
	uploadTime = time.Hour
	logTime    = 10 * time.Minute
)

func newBoxClient(text string) (*boxClient, error) {
	base, err := url.Parse(text)
	if err != nil || base.Scheme != "http" && base.Scheme != "https" || base.Host == "" {
		return nil, fmt.Errorf("--box: %.100q is not the URL of an admin port; allowed is one such as http://gateway.local:8080", text)
	}
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.ExpectContinueTimeout = answerTime // a password that is wrong is told before the bundle is sent
	return &boxClient{base: *base, http: &http.Client{Transport: transport}}, nil
}

func (c *boxClient) url(path string, query url.Values) string {
	u := *c.base.JoinPath(path)
	u.RawQuery = query.Encode()
	return u.String()
}

func (c *boxClient) status(ctx context.Context) (s update.Status, err error) {
	ctx, cancel := context.WithTimeout(ctx, answerTime)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, c.url("firmware", nil), nil)
	if err != nil {
		return s, err
	}
	text, err := c.ask(req)
	if err != nil {
		return s, err
	}
	if err := json.Unmarshal([]byte(text), &s); err != nil {
		return s, fmt.Errorf("the answer of %s cannot be read: %w", c.base.Host, err)
	}
	return s, nil
}

// install sends a file that was found whole: a damaged one is not worth the way.
func (c *boxClient) install(cmd *cobra.Command, f *os.File, size int64, older, stay bool) error {
	bundle, err := update.Inspect(f, size)
	if err == nil {
		err = bundle.Check(cmd.Context())
	}
	if err != nil {
		return err
	}
	query := restartQuery(stay)
	if older {
		query.Set("allow-downgrade", "true")
	}
	return c.change(cmd, "firmware", query, io.NewSectionReader(f, 0, size), size, uploadTime)
}

func (c *boxClient) rollBack(cmd *cobra.Command, stay bool) error {
	return c.change(cmd, "firmware/rollback", restartQuery(stay), http.NoBody, 0, answerTime)
}

func restartQuery(stay bool) url.Values {
	query := url.Values{}
	if stay {
		query.Set("restart", "no")
	}
	return query
}

// change asks for one, with the box's password, and prints the answer.
func (c *boxClient) change(cmd *cobra.Command, path string, query url.Values, body io.Reader, size int64, most time.Duration) error {
	req, cancel, err := c.asOwner(cmd, most, http.MethodPost, c.url(path, query), body)
	if err != nil {
		return err
	}
	defer cancel()
	req.ContentLength = size
	if size > 0 {
		req.Header.Set("Content-Type", "application/octet-stream")
		req.Header.Set("Expect", "100-continue")
	}
	text, err := c.ask(req)
	if err == nil {
		_, err = io.WriteString(cmd.OutOrStdout(), text)
	}
	return err
}

// asOwner makes a request with the box's password, which is asked for first. It may take
// as long as most, from then on, and is over when cancel is called.
func (c *boxClient) asOwner(cmd *cobra.Command, most time.Duration, method, url string, body io.Reader) (req *http.Request, cancel context.CancelFunc, err error) {
	password, err := askPassword(cmd, "Password of "+c.base.Host+": ")
	if err != nil {
		return nil, nil, err
	}
	ctx, cancel := context.WithTimeout(cmd.Context(), most)
	if req, err = http.NewRequestWithContext(ctx, method, url, body); err != nil {
		cancel()
		return nil, nil, err
	}
	req.SetBasicAuth("admin", password)
	return req, cancel, nil
}

// log writes what the box has logged to cmd's output, for who has its password.
func (c *boxClient) log(cmd *cobra.Command) error {
	req, cancel, err := c.asOwner(cmd, logTime, http.MethodGet, c.url("log", nil), http.NoBody)
	if err != nil {
		return err
	}
	defer cancel()
	resp, err := c.answer(req, "keeps no log: it was not started from an image, or runs an older release")
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if _, err := io.Copy(cmd.OutOrStdout(), resp.Body); err != nil {
		return fmt.Errorf("the log of %s ends early: %w", c.base.Host, err)
	}
	return nil
}

// ask returns the answer, or as an error what the box says instead.
func (c *boxClient) ask(req *http.Request) (string, error) {
	resp, err := c.answer(req, "has no firmware to update: it was not started from an image with two slots, or runs an older release")
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	return string(text), err
}

// answer returns one that is good, with its body to be read, or as an error what the box
// says instead; without is said of a box that does not know the page.
func (c *boxClient) answer(req *http.Request, without string) (*http.Response, error) {
	resp, err := c.http.Do(req)
	if err != nil || resp.StatusCode == http.StatusOK {
		return resp, err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	switch {
	case err != nil:
		return nil, err
	case resp.StatusCode == http.StatusNotFound:
		return nil, fmt.Errorf("%s %s", c.base.Host, without)
	}
	return nil, errors.New(strings.TrimSpace(string(text)))
}
