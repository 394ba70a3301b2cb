// Command floor is the floor of a cold get-key: the same two requests, in as
// few lines as net/http needs. Arguments: URL, user, optional PEM file.
package main

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"io"
	"net/http"
	"os"
)

func main() {
	if len(os.Args) > 3 {
		pem, _ := os.ReadFile(os.Args[3])
		pool := x509.NewCertPool()
		pool.AppendCertsFromPEM(pem)
		http.DefaultTransport.(*http.Transport).TLSClientConfig = &tls.Config{RootCAs: pool}
	}
	do := func(method, path, token string) io.Reader {
		req, _ := http.NewRequest(method, os.Args[1]+path, nil)
		req.Header.Set("x-api-key", os.Getenv("KEYROT_API_KEY"))
		req.Header.Set("Authorization", "Bearer "+token)
		res, err := http.DefaultClient.Do(req)
		if err != nil {
			panic(err)
		}
		return res.Body
	}
	var t struct{ Token string }
	_ = json.NewDecoder(do("POST", "/generate-token", "")).Decode(&t)
	_, _ = io.Copy(os.Stdout, do("GET", "/active-key?username="+os.Args[2], t.Token))
}
