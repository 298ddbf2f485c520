{{- /* Takes values that are null out of a map, at any depth: null takes a value away. */ -}}
{{- define "livescore-operator.drop-nulls" -}}
{{- $map := . -}}
{{- range $name := keys $map -}}
{{- $value := get $map $name -}}
{{- if kindIs "invalid" $value -}}
{{- $_ := unset $map $name -}}
{{- else if kindIs "map" $value -}}
{{- include "livescore-operator.drop-nulls" $value -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- /* Completes the values: null takes a value away, and what the templates cannot do without has its default. */ -}}
{{- define "livescore-operator.complete" -}}
{{- include "livescore-operator.drop-nulls" .Values -}}
{{- $defaults := fromYaml `
image: {repository: livescore-operator}
replicas: 2
crds: {install: true}
rbac: {create: true}
serviceAccount: {create: true}
watch: {}
podDisruptionBudget: {maxUnavailable: 1}
networkPolicy: {apiServerPorts: [443, 6443]}
metricsAdapter: {}
monitoring: {serviceMonitor: {interval: 30s}, rules: {}, dashboard: {}}
` -}}
{{- include "livescore-operator.fill" (list .Values $defaults) -}}
{{- end -}}

{{- /* Sets what is missing in the first map to the value in the second, at any depth. */ -}}
{{- define "livescore-operator.fill" -}}
{{- $given := index . 0 -}}
{{- range $name, $default := index . 1 -}}
{{- if not (hasKey $given $name) -}}
{{- $_ := set $given $name $default -}}
{{- else if kindIs "map" $default -}}
{{- include "livescore-operator.fill" (list (get $given $name) $default) -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- define "livescore-operator.name" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride -}}
{{- else if contains .Chart.Name .Release.Name -}}
{{- .Release.Name | trunc 40 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" (.Release.Name | trunc 21 | trimSuffix "-") .Chart.Name -}}
{{- end -}}
{{- end -}}

{{- define "livescore-operator.selector" -}}
app.kubernetes.io/name: livescore-operator
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "livescore-operator.labels" -}}
{{ include "livescore-operator.selector" . }}
app.kubernetes.io/part-of: livescore
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end -}}

{{- define "livescore-operator.image" -}}
{{- $repository := .Values.image.repository -}}
{{- with (.Values.global | default dict).imageRegistry -}}
{{- $repository = printf "%s/%s" (trimSuffix "/" .) $repository -}}
{{- end -}}
{{- if .Values.image.digest -}}
{{ $repository }}@{{ .Values.image.digest }}
{{- else -}}
{{ $repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end -}}
{{- end -}}

{{- define "livescore-operator.account" -}}
{{- .Values.serviceAccount.name | default (ternary (include "livescore-operator.name" .) "default" .Values.serviceAccount.create) -}}
{{- end -}}

{{- define "livescore-operator.subjects" -}}
- kind: ServiceAccount
  name: {{ include "livescore-operator.account" . }}
  namespace: {{ .Release.Namespace }}
{{- end -}}

{{- /* What every object begins with but those of other namespaces; `suffix` may be empty. */ -}}
{{- define "livescore-operator.metadata" -}}
name: {{ include "livescore-operator.name" .root }}{{ .suffix }}
namespace: {{ .namespace | default .root.Release.Namespace }}
labels:
  {{- include "livescore-operator.labels" .root | nindent 2 }}
{{- end -}}

{{- define "livescore-operator.cluster-metadata" -}}
name: {{ include "livescore-operator.name" .root }}{{ .suffix }}
labels:
  {{- include "livescore-operator.labels" .root | nindent 2 }}
{{- end -}}
