{{- define "livescore.name" -}}
{{- .Values.name | default .Release.Name -}}
{{- end -}}

{{- define "livescore.labels" -}}
app.kubernetes.io/name: livescore
app.kubernetes.io/instance: {{ include "livescore.name" . }}
app.kubernetes.io/part-of: livescore
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end -}}

{{- /* No pod of the LiveScore: its NetworkPolicies must not choose it. */ -}}
{{- define "livescore.test-labels" -}}
app.kubernetes.io/name: livescore-test
app.kubernetes.io/instance: {{ include "livescore.name" . }}
app.kubernetes.io/part-of: livescore
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end -}}

{{- define "livescore.image" -}}
{{- .Values.spec.image | default (printf "%s:%s" .Values.image.repository (.Values.image.tag | default .Chart.AppVersion)) -}}
{{- end -}}

{{- /* The spec with what the other values say of it. */ -}}
{{- define "livescore.spec" -}}
{{- $name := include "livescore.name" . -}}
{{- $spec := merge (dict "image" (include "livescore.image" .)) .Values.spec -}}
{{- if .Values.secrets.apiKeys -}}
{{- $reference := dict "name" (printf "%s-api-keys" $name) "key" "keys.json" -}}
{{- $_ := set $spec "api" (merge (dict "apiKeysSecret" $reference) ($spec.api | default dict)) -}}
{{- end -}}
{{- range $server, $url := dict "postgres" .Values.secrets.databaseUrl "redis" .Values.secrets.redisUrl -}}
{{- if $url -}}
{{- $given := get $spec $server | default dict -}}
{{- if ne (get $given "mode" | default "external") "external" -}}
{{- fail (printf "spec.%s.mode is %s, and secrets has the URL of an external one: give only one of them" $server $given.mode) -}}
{{- end -}}
{{- $external := dict "secretRef" (dict "name" (printf "%s-urls" $name) "key" $server) -}}
{{- $_ := set $spec $server (merge (dict "mode" "external" "external" $external) $given) -}}
{{- end -}}
{{- end -}}
{{- toYaml $spec -}}
{{- end -}}
