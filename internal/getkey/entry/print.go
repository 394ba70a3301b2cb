package entry

import "time"

// ProcessFields are what the SDKs' process provider reads. Expiration is always
// there: without it the SDKs would use the key for ever.
func (c *Credential) ProcessFields() []Field {
	return []Field{
		{Name: "Version", JSON: "1"},
		{Name: "AccessKeyId", Text: c.AccessKeyID},
		{Name: "SecretAccessKey", Text: c.SecretAccessKey},
		{Name: "Expiration", Text: c.Until()},
	}
}

// JSONFields are the server's answer.
func (c *Credential) JSONFields() []Field {
	return []Field{
		{Name: "AccessKeyId", Text: c.AccessKeyID},
		{Name: "SecretAccessKey", Text: c.SecretAccessKey},
		{Name: "Expiration", Text: c.Expiration.Format(time.RFC3339Nano)},
		{Name: "CreateDate", Text: c.CreateDate.Format(time.RFC3339Nano)},
		{Name: "UserName", Text: c.UserName},
	}
}

// Until returns the Expiration for those who want whole seconds.
func (c *Credential) Until() string { return c.Expiration.UTC().Format(time.RFC3339) }

// Field is one of a JSON object's: its value as JSON, or the text it is.
type Field struct{ Name, JSON, Text string }

// Object returns a JSON object with its fields in order, made in one piece of
// memory: a new kind of piece costs more than what is put into it. ok is false
// if a text is not plain, which IAM's names and keys are: printable ASCII, no
// quotes, no backslashes.
func Object(fields ...Field) (text string, ok bool) {
	b := append(make([]byte, 0, 512), "{\n"...) // which stays on the stack
	for i, f := range fields {
		if i > 0 {
			b = append(b, ",\n"...)
		}
		b = append(append(append(b, `  "`...), f.Name...), `": `...)
		if f.JSON != "" {
			b = append(b, f.JSON...)
			continue
		}
		for j := range len(f.Text) {
			if c := f.Text[j]; c < ' ' || c > '~' || c == '"' || c == '\\' {
				return "", false
			}
		}
		b = append(append(append(b, '"'), f.Text...), '"')
	}
	return string(append(b, "\n}\n"...)), true
}
