{{- define "linkage.name" -}}
{{- .Release.Name | trunc 40 | trimSuffix "-" -}}
{{- end -}}

{{- define "linkage.labels" -}}
app.kubernetes.io/name: linkage-service
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end -}}

{{- define "linkage.selector" -}}
app.kubernetes.io/name: linkage-service
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "linkage.image" -}}
{{- $image := .image -}}
{{- if $image.digest -}}
{{ $image.repository }}@{{ $image.digest }}
{{- else -}}
{{ $image.repository }}:{{ $image.tag | default .version }}
{{- end -}}
{{- end -}}

{{/* What every pod has: nobody's rights, and no token of the cluster. */}}
{{- define "linkage.pod" -}}
serviceAccountName: {{ include "linkage.name" . }}
automountServiceAccountToken: {{ .Values.serviceAccount.automountToken }}
enableServiceLinks: false
{{- with .Values.imagePullSecrets }}
imagePullSecrets: {{- toYaml . | nindent 2 }}
{{- end }}
securityContext:
  runAsNonRoot: true
  runAsUser: 10001
  runAsGroup: 10001
  fsGroup: 10001
  seccompProfile: { type: RuntimeDefault }
{{- with .Values.nodeSelector }}
nodeSelector: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.tolerations }}
tolerations: {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{- define "linkage.container" -}}
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  capabilities: { drop: [ALL] }
{{- end -}}

{{/* Spread over machines, as far as there are any. */}}
{{- define "linkage.spread" -}}
topologySpreadConstraints:
  - maxSkew: 1
    topologyKey: kubernetes.io/hostname
    whenUnsatisfiable: ScheduleAnyway
    labelSelector:
      matchLabels:
        {{- include "linkage.selector" .root | nindent 8 }}
        app.kubernetes.io/component: {{ .component }}
{{- end -}}

{{- define "linkage.store" -}}
{{- range $name, $value := .Values.blobs.environment }}
- { name: {{ $name }}, value: {{ $value | quote }} }
{{- end }}
{{- end -}}

{{/* Settings of the service, without those of the database. */}}
{{- define "linkage.settings" -}}
- { name: LINKAGE_DATA_DIR, value: /var/lib/linkage }
- { name: LINKAGE_KEYS_DIR, value: /run/linkage/keys }
- { name: LINKAGE_BLOB_URL, value: {{ .Values.blobs.url | quote }} }
- { name: LINKAGE_ISSUER, value: {{ .Values.issuer | quote }} }
{{- with .Values.trustedProxies }}
- { name: LINKAGE_TRUSTED_PROXIES, value: {{ toJson . | quote }} }
{{- end }}
{{- if .Values.dask.enabled }}
- { name: LINKAGE_EXECUTOR, value: dask }
- { name: LINKAGE_SCHEDULER, value: "tls://{{ include "linkage.name" . }}-scheduler:8786" }
- { name: LINKAGE_SCHEDULER_CA, value: /run/linkage/cluster/ca.crt }
- { name: LINKAGE_SCHEDULER_CERTIFICATE, value: /run/linkage/cluster/tls.crt }
- { name: LINKAGE_SCHEDULER_KEY, value: /run/linkage/cluster/tls.key }
{{- end }}
{{- range $name, $value := .Values.settings }}
- { name: LINKAGE_{{ $name }}, value: {{ $value | quote }} }
{{- end }}
{{- range $name, $from := .Values.secretSettings }}
- name: LINKAGE_{{ $name }}
  valueFrom: { secretKeyRef: { name: {{ $from.secret | quote }}, key: {{ $from.key | quote }} } }
{{- end }}
{{- include "linkage.store" . }}
{{- end -}}

{{/* The database by the role that runs the service, or by the one that owns the tables. */}}
{{- define "linkage.database" -}}
- { name: LINKAGE_DATABASE_URL, value: {{ .url | quote }} }
- name: PGPASSWORD
  valueFrom: { secretKeyRef: { name: {{ .password.secret | quote }}, key: {{ .password.key | quote }} } }
{{- end -}}

{{- define "linkage.credentials" -}}
{{- with .Values.blobs.credentialsSecret }}
envFrom:
  - secretRef: { name: {{ . | quote }} }
{{- end }}
{{- end -}}

{{- define "linkage.mounts" -}}
- { name: keys, mountPath: /run/linkage/keys, readOnly: true }
- { name: data, mountPath: /var/lib/linkage }
- { name: kernel, mountPath: /var/cache/linkage }
- { name: scratch, mountPath: /tmp }
{{- if .Values.dask.enabled }}
- { name: cluster, mountPath: /run/linkage/cluster, readOnly: true }
{{- end }}
{{- end -}}

{{- define "linkage.volumes" -}}
- name: keys
  secret: { secretName: {{ .Values.keys.secret | quote }}, defaultMode: 0440 }
- name: data
  emptyDir: { sizeLimit: 64Mi }
- name: kernel
  emptyDir: { sizeLimit: 256Mi }
- name: scratch
  emptyDir: { sizeLimit: {{ .Values.worker.scratch }} }
{{- if .Values.dask.enabled }}
- name: cluster
  secret: { secretName: {{ .Values.dask.certificatesSecret | quote }}, defaultMode: 0440 }
{{- end }}
{{- end -}}
