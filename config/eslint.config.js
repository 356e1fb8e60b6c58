import js from '@eslint/js'
import { defineConfig } from 'eslint/config'
import tseslint from 'typescript-eslint'

export default defineConfig(
  { ignores: ['dist/**', 'node_modules/**'] },
  js.configs.recommended,
  tseslint.configs.recommendedTypeChecked,
  {
    languageOptions: { parserOptions: { projectService: true, tsconfigRootDir: import.meta.dirname + '/..' } },
    rules: {
      '@typescript-eslint/no-require-imports': ['error', { allowAsImport: true }], // what CommonJS files import by
      eqeqeq: ['error', 'always', { null: 'ignore' }],
      'no-console': 'error',
      '@typescript-eslint/consistent-type-imports': 'error',
      '@typescript-eslint/no-floating-promises': 'error',
      '@typescript-eslint/switch-exhaustiveness-check': ['error', { considerDefaultExhaustiveForUnions: true }],
      '@typescript-eslint/no-unused-vars': ['error', { argsIgnorePattern: '^_', varsIgnorePattern: '^_' }],
      '@typescript-eslint/require-await': 'off',
    },
  },
  { files: ['**/*.js', '.ci/*.cjs'], extends: [tseslint.configs.disableTypeChecked] },
  {
    files: ['.ci/*.cjs'],
    languageOptions: { globals: Object.fromEntries(['console', 'process', 'require'].map((name) => [name, 'readonly'])) },
    rules: { 'no-console': 'off', '@typescript-eslint/no-require-imports': 'off' },
  },
  {
    files: ['src/observability/page/*.js'],
    languageOptions: {
      sourceType: 'script',
      globals: Object.fromEntries(['document', 'EventSource', 'FormData', 'Option', 'URLSearchParams', 'setTimeout', 'clearTimeout'].map((name) => [name, 'readonly'])),
    },
  },
  { files: ['src/cli/**', 'test/**'], rules: { 'no-console': 'off' } },
)
